"""What a corruption needs of a clip, and the one error where the clip lacks it."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Clip, Scene

# A pose is that of the ego vehicle, with a calibrated camera on it; an other is a clip of another place.
Requirement = Literal["pose", "boxes", "cameras", "other"]


class CorruptionNotApplicable(UserError):
    """The clip lacks what the corruption would change."""


def check_requirements(
    scene: Scene, corruption_type: str, requirements: tuple[Requirement, ...], has_other: bool
) -> None:
    """CorruptionNotApplicable where ``scene`` lacks one of ``requirements``."""
    calibrated = sum(camera.is_calibrated for camera in scene.cameras)
    available: dict[Requirement, bool] = {
        "pose": scene.ego_to_world is not None and calibrated > 0,
        "boxes": bool(scene.tracks),
        "cameras": calibrated > 1,
        "other": has_other,
    }
    descriptions: dict[Requirement, str] = {
        "pose": "an ego pose and a calibrated camera",
        "boxes": "commanded boxes",
        "cameras": "two calibrated cameras",
        "other": "another clip, of another place",
    }
    for requirement in requirements:
        if not available[requirement]:
            raise CorruptionNotApplicable(f"{scene.clip_id}: {corruption_type} needs {descriptions[requirement]}")


def check_frames(clip: Clip, minimum: int) -> None:
    """CorruptionNotApplicable where ``clip`` has fewer frames than ``minimum``."""
    if clip.scene.num_frames < minimum:
        raise CorruptionNotApplicable(
            f"{clip.scene.clip_id}: needs {minimum} frames or more, it has {clip.scene.num_frames}"
        )


def percent_to_frames(clip: Clip, percent: float) -> int:
    """How many frames ``percent`` of a clip are, to the nearest frame; CorruptionNotApplicable where that is none."""
    count = round(clip.scene.num_frames * percent / 100)
    if count == 0:
        raise CorruptionNotApplicable(f"{clip.scene.clip_id}: {percent:g} % of {clip.scene.num_frames} frames is none")
    return count


def random_sign(rng: np.random.Generator) -> float:
    """-1 or 1."""
    return float(rng.choice([-1.0, 1.0]))


def require_poses(scene: Scene) -> NDArray[np.float64]:
    """``ego_to_world`` ``(T, 4, 4)`` of a scene that was checked to have it."""
    assert scene.ego_to_world is not None
    return scene.ego_to_world
