"""What a corruption requires of a clip, and the error if the clip lacks it."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Clip, Scene

# "pose" is an ego pose with a calibrated camera; "other" is a second clip, from another place.
Requirement = Literal["pose", "boxes", "cameras", "other"]


class CorruptionNotApplicable(UserError):
    """The corruption cannot be applied to this clip."""


def check_requirements(
    scene: Scene, corruption_type: str, requirements: tuple[Requirement, ...], has_other: bool
) -> None:
    """Raises CorruptionNotApplicable if ``scene`` lacks one of ``requirements``."""
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
        "other": "another clip, from another place",
    }
    for requirement in requirements:
        if not available[requirement]:
            raise CorruptionNotApplicable(f"{scene.clip_id}: {corruption_type} needs {descriptions[requirement]}")


def check_frames(clip: Clip, minimum: int) -> None:
    """Raises CorruptionNotApplicable if ``clip`` has fewer frames than ``minimum``."""
    if clip.scene.num_frames < minimum:
        raise CorruptionNotApplicable(
            f"{clip.scene.clip_id}: needs {minimum} frames or more, but has {clip.scene.num_frames}"
        )


def percent_to_frames(clip: Clip, percent: float) -> int:
    """``percent`` of a clip as a number of frames, rounded; raises CorruptionNotApplicable if it is 0."""
    count = round(clip.scene.num_frames * percent / 100)
    if count == 0:
        raise CorruptionNotApplicable(
            f"{clip.scene.clip_id}: {percent:g} % of {clip.scene.num_frames} frames is less than half a frame"
        )
    return count


def random_sign(rng: np.random.Generator) -> float:
    """-1 or 1."""
    return float(rng.choice([-1.0, 1.0]))


def require_poses(scene: Scene) -> NDArray[np.float64]:
    """``ego_to_world`` ``(T, 4, 4)`` of a scene whose requirements were checked."""
    assert scene.ego_to_world is not None
    return scene.ego_to_world
