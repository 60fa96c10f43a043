"""Every corruption by name: its unit, a mild and a strong strength, its requirements, and a description."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Clip
from driveforge.datasets.scene_json import scene_to_json
from driveforge.validation.corruptions import boxes, cameras, looks, objects, pixels, pose, time
from driveforge.validation.corruptions.missing_vehicle import missing_vehicle
from driveforge.validation.corruptions.requirements import CorruptionNotApplicable, Requirement, check_requirements
from driveforge.validation.views.view import single_threaded_opencv, without_held_frames

GROUPS = ("pose", "pixels", "time", "objects", "appearance", "cameras")

# Units that take only whole numbers, and units with a largest strength.
INTEGER_UNITS = ("frames", "pairs")
MAX_STRENGTH = {"% of frames": 100.0, "% opacity": 100.0}


@dataclass(frozen=True, kw_only=True, slots=True)
class Corruption:
    """One type of corruption with a strength in ``unit``; ``mild`` is hard to detect, ``strong`` is easy.

    ``apply`` takes the clip, the strength, a random generator and, if it requires "other", the other clip.
    ``description`` completes the sentence "In this clip …".
    """

    name: str
    group: str
    unit: str
    mild: float
    strong: float
    description: str
    apply: Callable[..., Clip]
    requirements: tuple[Requirement, ...]

    def check(self, strength: float) -> None:
        """Raises UserError if ``strength`` is not possible."""
        largest = MAX_STRENGTH.get(self.unit, math.inf)
        if not (math.isfinite(strength) and 0 <= strength <= largest):
            limits = f"from 0 to {largest:g}" if math.isfinite(largest) else "0 or more"
            raise UserError(f"the strength of {self.name} must be {limits} ({self.unit}), got {strength:g}")
        if self.unit in INTEGER_UNITS and strength != int(strength):
            raise UserError(f"the strength of {self.name} must be a whole number of {self.unit}, got {strength:g}")


CorruptionRow = tuple[str, str, float, float, Callable[..., Clip], str]


def _define(group: str, requirements: tuple[Requirement, ...], *rows: CorruptionRow) -> dict[str, Corruption]:
    return {
        name: Corruption(
            name=name,
            group=group,
            unit=unit,
            mild=mild,
            strong=strong,
            description=description,
            apply=apply,
            requirements=requirements,
        )
        for name, unit, mild, strong, apply, description in rows
    }


def _at_each_place(row: CorruptionRow) -> list[CorruptionRow]:
    """The corruption of an object inside the image, and of one that the edge of the image cuts."""
    name, unit, mild, strong, apply, description = row
    return [
        (name, unit, mild, strong, partial(apply, place="inside"), description),
        (f"{name}-at-edge", unit, mild, strong, partial(apply, place="edge"), f"{description}, at the image edge"),
    ]


CORRUPTIONS: dict[str, Corruption] = {
    **_define(
        "pose",
        ("pose",),
        ("yaw-rate", "deg/s", 1.5, 5.0, pose.yaw_rate, "the commanded ego turns more to one side"),
        ("lateral-drift", "m/s", 0.25, 0.8, pose.lateral_drift, "the commanded ego slides sideways"),
        ("speed", "%", 15.0, 40.0, pose.speed, "the commanded ego is faster or slower"),
        (
            "pose-jitter",
            "deg",
            0.1,
            0.4,
            pose.pose_jitter,
            "the commanded orientation jitters (rms about each axis)",
        ),
        ("focal-length", "%", 6.0, 20.0, pose.focal_length, "all commanded focal lengths are longer or shorter"),
    ),
    **_define(
        "pixels",
        (),
        ("local-warp", "% of width", 0.8, 2.5, pixels.local_warp, "a region of the image oscillates"),
        ("rolling-warp", "% of width", 0.3, 1.0, pixels.rolling_warp, "waves travel through the rows of the image"),
        ("flicker", "%", 2.0, 6.0, pixels.flicker, "the brightness flickers (rms gain)"),
        ("boil", "gray levels", 6.0, 14.0, pixels.boil, "surfaces change their texture in every frame (rms)"),
    ),
    **_define(
        "time",
        (),
        ("freeze", "frames", 2, 6, time.freeze, "one frame replaces the following ones"),
        ("stutter", "frames", 2, 6, time.stutter, "some frames repeat the previous one"),
        ("swap", "pairs", 1, 3, time.swap, "neighboring frames are swapped"),
        ("shuffle", "frames", 4, 8, time.shuffle, "the frames of an interval are shuffled"),
        ("skip", "frames", 2, 4, time.skip, "frames are skipped while the command continues"),
        ("reverse", "% of frames", 50.0, 100.0, time.reverse, "an interval is played backward"),
    ),
    **_define(
        "time",
        ("other",),
        ("cut", "% of frames", 25.0, 50.0, time.cut, "the last frames are from another place"),
    ),
    **_define(
        "objects",
        ("pose", "boxes"),
        ("object-teleport", "m", 1.0, 3.0, boxes.object_teleport, "the box of an object jumps to the side"),
        ("object-drift", "m/s", 0.5, 2.0, boxes.object_drift, "the box of an object drifts away from it"),
        ("object-growth", "%", 15.0, 40.0, objects.object_growth, "an object grows in its box"),
        *_at_each_place(
            ("identity-swap", "% opacity", 50.0, 100.0, objects.identity_swap, "an object is replaced by another one")
        ),
        *_at_each_place(
            ("vanish", "% of frames", 20.0, 33.0, objects.vanish, "an object vanishes at the end, but its box stays")
        ),
        (
            "uncommanded-parked",
            "% of frames",
            50.0,
            100.0,
            boxes.uncommanded_parked,
            "a parked object has no box",
        ),
        (
            "uncommanded-moving",
            "% of frames",
            50.0,
            100.0,
            boxes.uncommanded_moving,
            "a moving object has no box",
        ),
    ),
    **_define(
        "objects",
        ("pose",),
        ("missing-vehicle", "% of frames", 50.0, 100.0, missing_vehicle, "a commanded vehicle is missing"),
    ),
    **_define(
        "appearance",
        ("pose", "boxes"),
        *_at_each_place(("melt", "% of size", 15.0, 40.0, looks.melt, "an object melts into a smooth mass")),
        *_at_each_place(
            ("mosaic", "px", 10.0, 16.0, looks.mosaic, "an object turns into flat blocks (in an image of 256 rows)")
        ),
        *_at_each_place(("repaint", "% opacity", 50.0, 100.0, looks.repaint, "an object takes another color")),
    ),
    **_define(
        "appearance",
        (),
        ("detail-decay", "px", 1.5, 3.0, looks.detail_decay, "the image is blurred more and more"),
        ("road-blocks", "% opacity", 50.0, 100.0, looks.road_blocks, "the lower half of the image turns into blocks"),
    ),
    **_define(
        "cameras",
        ("pose", "cameras"),
        ("camera-yaw", "deg", 1.5, 4.0, cameras.camera_yaw, "one commanded camera is rotated to one side"),
        ("camera-pitch", "deg", 1.0, 2.0, cameras.camera_pitch, "one commanded camera is rotated up or down"),
        ("camera-async", "s", 0.1, 0.3, cameras.camera_async, "one camera is early"),
    ),
}


def corrupt(clip: Clip, corruption_type: str, strength: float, *, seed: int, other: Clip | None = None) -> Clip:
    """``clip`` with a corruption of ``CORRUPTIONS`` at ``strength``, in the unit of that type; 0 changes nothing.

    A strength has no sign: the ``seed`` decides the direction, what is corrupted, and when. The same arguments give the
    same bytes. Held frames are removed. The new ``clip_id`` names type, strength and seed. ``other`` is for types that
    require another clip. Raises CorruptionNotApplicable if the clip does not meet the requirements or would not change,
    and UserError for an unknown type or an impossible strength.
    """
    corruption = CORRUPTIONS.get(corruption_type)
    if corruption is None:
        raise UserError(f"no corruption type {corruption_type!r}; there are {', '.join(CORRUPTIONS)}")
    corruption.check(strength)
    if seed < 0:
        raise UserError(f"the seed of a corruption must be 0 or more, got {seed}")
    scene = without_held_frames(clip.scene)
    check_requirements(scene, corruption_type, corruption.requirements, other is not None)
    clean = Clip(scene=scene, frames=clip.frames[:, : scene.num_frames])
    if strength == 0:
        return clean
    arguments = (other,) if "other" in corruption.requirements else ()
    with single_threaded_opencv():
        corrupted = corruption.apply(clean, strength, np.random.default_rng(seed), *arguments)
    if np.array_equal(corrupted.frames, clean.frames) and scene_to_json(corrupted.scene) == scene_to_json(scene):
        raise CorruptionNotApplicable(
            f"{scene.clip_id}: {corruption_type} by {strength:g} {corruption.unit} changes nothing"
        )
    clip_id = re.sub(r"[^a-z0-9-]", "_", f"{scene.clip_id}-{corruption_type}-{strength:g}-seed-{seed}")
    return Clip(scene=replace(corrupted.scene, clip_id=clip_id), frames=corrupted.frames)
