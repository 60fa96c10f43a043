"""The nouns that everything here speaks: Camera, Track, Lane, Scene and Clip.

Each is a frozen record that checks itself when it is made and keeps its arrays read-only, so that whoever computes with
one need not doubt its shapes, nor its numbers to be finite. Units, frames and axes are those of ``geometry``.
"""

import re
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.geometry import Array, is_rigid

CLIP_ID = re.compile(r"[a-z0-9_-]+")
LANE_KINDS = ("boundary", "divider", "crossing")

# What no recording reaches, so that whoever computes with what lies within need not think of floats that overflow.
MAX_COORDINATE_M = 1e9
MAX_SIDE_PX = 16384
MAX_TIME_S, MIN_STEP_S = 1e11, 1e-7
MIN_FOCAL, MAX_INTRINSIC = 0.01, 1e4  # of the image's side: a view of 179 degrees, one of 20 seconds of arc


def _freeze_array(array: Any, dtype: type, label: str, shape: tuple[int | None, ...]) -> NDArray[Any]:
    """A read-only copy of ``array``, or a UserError that says which shape was expected (None is any length)."""
    given = _as_array(array, label)
    if given.size and given.dtype.kind not in ("biu" if dtype is np.bool_ else "iuf"):
        raise UserError(f"{label} must hold {'true or false' if dtype is np.bool_ else 'numbers'} alone")
    out: NDArray[Any] = np.array(given, dtype=dtype)
    if out.ndim != len(shape) or any(
        expected_size is not None and expected_size != size
        for expected_size, size in zip(shape, out.shape, strict=True)
    ):
        expected = "(" + ", ".join("*" if n is None else str(n) for n in shape) + ")"
        raise UserError(f"{label} must have shape {expected}, got {out.shape}")
    if out.dtype.kind == "f" and not np.isfinite(out).all():
        raise UserError(f"{label} holds NaN or infinite values")
    out.setflags(write=False)
    return out


def _as_array(array: Any, label: str) -> NDArray[Any]:
    try:
        return np.asarray(array)
    except (TypeError, ValueError) as error:
        raise UserError(f"{label} must be a regular array, all rows of one length") from error


def _check_meters(array: Any, label: str, shape: tuple[int | None, ...]) -> Array:
    out = _freeze_array(array, np.float64, label, shape)
    if (np.abs(out) > MAX_COORDINATE_M).any():
        raise UserError(f"{label} reaches beyond {MAX_COORDINATE_M:.0e} m; is it in meters?")
    return out


def _check_poses(array: Any, label: str, shape: tuple[int | None, ...]) -> Array:
    out = _check_meters(array, label, shape)
    if not is_rigid(out):
        raise UserError(f"{label} must be rigid: a right-handed orthonormal rotation, and a last row of 0 0 0 1")
    return out


def _has_wrong_resolution(x: float, y: float) -> bool:
    """Whether a principal point, in sides of the image, lies far outside, or off the center by one factor both ways.

    A crop may put it anywhere near the image, but hardly on the diagonal through the first pixel.
    """
    is_outside = not (-0.5 <= x <= 1.5 and -0.5 <= y <= 1.5)
    is_scaled = (max(x, y) < 0.375 or min(x, y) > 2 / 3) and abs(x - y) <= 0.15 * max(abs(x), abs(y))
    return is_outside or is_scaled


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Camera:
    """A pinhole camera on the vehicle.

    ``intrinsics`` is ``(3, 3)`` in pixels; ``camera_to_ego`` is ``(4, 4)``, or ``(T, 4, 4)`` where the camera fires at
    other instants than the scene's reference (the ego motion in between is folded in). None where nobody knows.
    """

    name: str
    width: int
    height: int
    intrinsics: Array | None = None
    camera_to_ego: Array | None = None

    def __post_init__(self) -> None:
        if not CLIP_ID.fullmatch(self.name.lower()):
            raise UserError(f"camera name {shorten(self.name)!r} may hold only letters, digits, '-' and '_'")
        if not (1 <= self.width <= MAX_SIDE_PX and 1 <= self.height <= MAX_SIDE_PX):
            raise UserError(f"camera {self.name}: size {self.width}x{self.height} px is not 1 to {MAX_SIDE_PX} a side")
        if self.intrinsics is not None:
            k = _freeze_array(self.intrinsics, np.float64, f"camera {self.name}: intrinsics", (3, 3))
            normalized = np.abs(k[:2]) / [[self.width], [self.height]]
            if k[0, 0] <= 0 or k[1, 1] <= 0 or not np.allclose([k[1, 0], *k[2]], [0, 0, 0, 1]):
                raise UserError(
                    f"camera {self.name}: intrinsics must be [fx, skew, cx], [0, fy, cy], [0, 0, 1] with positive "
                    "focal lengths fx and fy"
                )
            if min(normalized[0, 0], normalized[1, 1]) < MIN_FOCAL or normalized.max() > MAX_INTRINSIC:
                raise UserError(
                    f"camera {self.name}: intrinsics of focal lengths {k[0, 0]:.3g}, {k[1, 1]:.3g} and principal point "
                    f"{k[0, 2]:.3g}, {k[1, 2]:.3g} are of no camera of {self.width}x{self.height} px; are they in px?"
                )
            if _has_wrong_resolution(k[0, 2] / self.width, k[1, 2] / self.height):
                raise UserError(
                    f"camera {self.name}: the principal point {k[0, 2]:.5g}, {k[1, 2]:.5g} does not fit an image of "
                    f"{self.width}x{self.height} px; are the intrinsics of another resolution?"
                )
            object.__setattr__(self, "intrinsics", k)
        if self.camera_to_ego is not None:
            label = f"camera {self.name}: camera_to_ego"
            is_fixed = _as_array(self.camera_to_ego, label).ndim == 2
            checked = _check_poses(self.camera_to_ego, label, (4, 4) if is_fixed else (None, 4, 4))
            object.__setattr__(self, "camera_to_ego", checked)

    @property
    def is_calibrated(self) -> bool:
        return self.intrinsics is not None and self.camera_to_ego is not None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Track:
    """One object through the clip: ``size`` is (length, width, height) m along the box's x, y, z.

    ``box_to_world`` ``(T, 4, 4)`` holds the box center; where ``present`` ``(T,)`` is False its value means nothing.
    """

    id: str
    category: str
    size: Array
    box_to_world: Array
    present: NDArray[np.bool_]

    def __post_init__(self) -> None:
        label = f"track {shorten(self.id)}"
        object.__setattr__(self, "size", _check_meters(self.size, f"{label}: size", (3,)))
        if (self.size <= 0).any():
            raise UserError(f"{label}: size {self.size.tolist()} must be positive")
        poses = _check_poses(self.box_to_world, f"{label}: box_to_world", (None, 4, 4))
        object.__setattr__(self, "box_to_world", poses)
        present = _freeze_array(self.present, np.bool_, f"{label}: present", (len(poses),))
        object.__setattr__(self, "present", present)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Lane:
    """A line painted on, or bounding, the road: ``points`` is a world polyline ``(N, 3)`` in meters."""

    kind: str
    points: Array

    def __post_init__(self) -> None:
        if self.kind not in LANE_KINDS:
            raise UserError(f"lane kind {shorten(self.kind)!r} is not one of {', '.join(LANE_KINDS)}")
        object.__setattr__(self, "points", _check_meters(self.points, f"{self.kind} lane: points", (None, 3)))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scene:
    """All that is known of a clip but its pixels.

    ``timestamps`` ``(T,)`` are seconds, strictly rising; ``ego_to_world`` is ``(T, 4, 4)``, or None without a pose. The
    last ``held_frames`` frames lie past the end of a short recording: poses and boxes go on at constant velocity and
    the pixels of the last recorded frame are held, so nothing may learn from them or judge by them.
    """

    clip_id: str
    domain: str
    timestamps: Array
    cameras: tuple[Camera, ...]
    ego_to_world: Array | None = None
    caption: str = ""
    tracks: tuple[Track, ...] = ()
    lanes: tuple[Lane, ...] = ()
    source: str = ""
    split: str = ""
    held_frames: int = 0

    def __post_init__(self) -> None:
        if not CLIP_ID.fullmatch(self.clip_id):
            raise UserError(f"clip id {shorten(self.clip_id)!r} may hold only a-z, 0-9, '-' and '_'")
        times = _freeze_array(self.timestamps, np.float64, f"{self.clip_id}: timestamps", (None,))
        if (np.abs(times) > MAX_TIME_S).any():
            raise UserError(f"{self.clip_id}: timestamps reach beyond {MAX_TIME_S:.0e} s; are they in seconds?")
        if len(times) < 1 or (np.diff(times) < MIN_STEP_S).any():
            raise UserError(
                f"{self.clip_id}: timestamps must be at least one and rise strictly, by {MIN_STEP_S:.0e} s or more"
            )
        object.__setattr__(self, "timestamps", times)
        if self.ego_to_world is not None:
            poses = _check_poses(self.ego_to_world, f"{self.clip_id}: ego_to_world", (len(times), 4, 4))
            object.__setattr__(self, "ego_to_world", poses)
        if not 0 <= self.held_frames < len(times):
            raise UserError(f"{self.clip_id}: held_frames {self.held_frames} must be in 0..{len(times) - 1}")
        if not self.cameras or len({c.name for c in self.cameras}) != len(self.cameras):
            raise UserError(f"{self.clip_id}: needs at least one camera, each with a name of its own")
        if len({t.id for t in self.tracks}) != len(self.tracks):
            raise UserError(f"{self.clip_id}: track ids must differ")
        for label, length in [(f"camera {c.name}", c.camera_to_ego.shape[0]) for c in self.cameras
                              if c.camera_to_ego is not None and c.camera_to_ego.ndim == 3] + [
                              (f"track {t.id}", len(t.present)) for t in self.tracks]:  # fmt: skip
            if length != len(times):
                raise UserError(f"{self.clip_id}: {shorten(label)} has {length} frames, the scene has {len(times)}")

    @property
    def num_frames(self) -> int:
        return len(self.timestamps)

    @property
    def frame_rate(self) -> float:
        """Frames a second, from the median gap; 0 for a single frame."""
        return float(1.0 / np.median(np.diff(self.timestamps))) if self.num_frames > 1 else 0.0

    def camera(self, name: str) -> Camera:
        for camera in self.cameras:
            if camera.name == name:
                return camera
        raise UserError(f"{self.clip_id}: no camera {name!r}; it has {', '.join(c.name for c in self.cameras)}")

    def camera_to_world(self, camera: Camera) -> Array:
        """``(T, 4, 4)`` pose of ``camera`` in every frame; a UserError where pose or extrinsics are unknown."""
        if self.ego_to_world is None or camera.camera_to_ego is None:
            raise UserError(f"{self.clip_id}: camera {camera.name} has no pose (ego pose or extrinsics are missing)")
        return np.asarray(self.ego_to_world @ camera.camera_to_ego)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Clip:
    """A Scene and its pixels: ``frames`` is ``(V, T, H, W, 3)`` uint8 RGB, views in the order of ``scene.cameras``."""

    scene: Scene
    frames: NDArray[np.uint8] = field(repr=False)

    def __post_init__(self) -> None:
        scene, frames = self.scene, self.frames
        first = scene.cameras[0]
        expected = (len(scene.cameras), scene.num_frames, first.height, first.width, 3)
        if frames.dtype != np.uint8 or frames.shape != expected:
            raise UserError(f"{scene.clip_id}: frames must be uint8 {expected}, got {frames.dtype} {frames.shape}")
        if any((c.height, c.width) != (first.height, first.width) for c in scene.cameras):
            raise UserError(f"{scene.clip_id}: all cameras of a clip must have one size; resize them together")
        if frames.flags.writeable:
            frames = frames.view()
            frames.setflags(write=False)
            object.__setattr__(self, "frames", frames)

    def view(self, name: str) -> NDArray[np.uint8]:
        """Frames ``(T, H, W, 3)`` of one camera."""
        frames: NDArray[np.uint8] = self.frames[
            [c.name for c in self.scene.cameras].index(self.scene.camera(name).name)
        ]
        return frames

    def with_scene(self, **changes: object) -> "Clip":
        """The same pixels under a changed scene, for example another commanded pose."""
        return Clip(scene=replace(self.scene, **changes), frames=self.frames)  # type: ignore[arg-type]
