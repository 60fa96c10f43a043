"""What a corruption needs of a clip, and the one error where the clip lacks it."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Clip, Scene

# A pose is that of the ego vehicle, with a calibrated camera on it; an other is a clip of another place.
Need = Literal["pose", "boxes", "cameras", "other"]


class NotApplicable(UserError):
    """The clip lacks what the corruption would change."""


def check_needs(scene: Scene, kind: str, needs: tuple[Need, ...], has_other: bool) -> None:
    """NotApplicable where ``scene`` lacks one of ``needs``."""
    calibrated = sum(camera.is_calibrated for camera in scene.cameras)
    there: dict[Need, bool] = {
        "pose": scene.ego_to_world is not None and calibrated > 0,
        "boxes": bool(scene.tracks),
        "cameras": calibrated > 1,
        "other": has_other,
    }
    words: dict[Need, str] = {
        "pose": "an ego pose and a calibrated camera",
        "boxes": "commanded boxes",
        "cameras": "two calibrated cameras",
        "other": "another clip, of another place",
    }
    for need in needs:
        if not there[need]:
            raise NotApplicable(f"{scene.clip_id}: {kind} needs {words[need]}")


def check_frames(clip: Clip, least: int) -> None:
    """NotApplicable where ``clip`` has fewer frames than ``least``."""
    if clip.scene.num_frames < least:
        raise NotApplicable(f"{clip.scene.clip_id}: needs {least} frames or more, it has {clip.scene.num_frames}")


def share_of_frames(clip: Clip, percent: float) -> int:
    """How many frames ``percent`` of a clip are, to the nearest frame; NotApplicable where that is none."""
    count = round(clip.scene.num_frames * percent / 100)
    if count == 0:
        raise NotApplicable(f"{clip.scene.clip_id}: {percent:g} % of {clip.scene.num_frames} frames is none")
    return count


def sign(rng: np.random.Generator) -> float:
    """-1 or 1."""
    return float(rng.choice([-1.0, 1.0]))


def poses_of(scene: Scene) -> NDArray[np.float64]:
    """``ego_to_world`` ``(T, 4, 4)`` of a scene that was checked to have it."""
    assert scene.ego_to_world is not None
    return scene.ego_to_world
