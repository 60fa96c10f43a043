"""The record types of driving data: Camera, Track, Lane, Scene and Clip.

Each is a frozen dataclass that validates its fields on construction and keeps its arrays read-only, so code can rely on
their shapes and on finite values. Units are meters, seconds, radians and pixels; axes are those of ``geometry``. The
world frame is right-handed with z up and an arbitrary origin. A pose ``a_to_b`` maps a-coordinates to b.
"""

import re
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.checked_arrays import (
    MAX_SIDE_PX,
    MAX_TIME_S,
    MIN_STEP_S,
    as_array,
    check_intrinsics,
    check_meters,
    check_poses,
    check_texts,
    freeze_array,
)
from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.geometry import Array

CLIP_ID = re.compile(r"[a-z0-9_-]+")
LANE_KINDS = ("boundary", "divider", "crossing")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Camera:
    """A pinhole camera on the vehicle, without lens distortion.

    ``name`` is the channel, such as ``CAM_FRONT``; ``width`` and ``height`` are the image size in pixels.
    ``intrinsics`` ``(3, 3)``, in pixels, maps camera-frame points to the image. ``camera_to_ego`` is the pose of the
    camera on the vehicle, translation in meters: ``(4, 4)``, or ``(T, 4, 4)`` if the camera has other image times than
    the scene's timestamps (it then includes the ego motion in between). Either is None if unknown.

    ``image_times_us`` ``(T,)`` int64 are the times of the recorded images in microseconds since 1970 (UTC), and
    ``image_tokens`` the T tokens of these images in the tables of the recording, "" for a frame without one. Either is
    None if unknown. For an edited scene they are those of the recording that it was derived from.
    """

    name: str
    width: int
    height: int
    intrinsics: Array | None = None
    camera_to_ego: Array | None = None
    image_times_us: NDArray[np.int64] | None = None
    image_tokens: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not CLIP_ID.fullmatch(self.name.lower()):
            raise UserError(f"camera name {shorten(self.name)!r} may hold only letters, digits, '-' and '_'")
        if not (1 <= self.width <= MAX_SIDE_PX and 1 <= self.height <= MAX_SIDE_PX):
            raise UserError(
                f"camera {self.name}: size {self.width}x{self.height} px must be 1 to {MAX_SIDE_PX} px per side"
            )
        if self.intrinsics is not None:
            checked = check_intrinsics(self.intrinsics, f"camera {self.name}", self.width, self.height)
            object.__setattr__(self, "intrinsics", checked)
        if self.camera_to_ego is not None:
            label = f"camera {self.name}: camera_to_ego"
            is_fixed = as_array(self.camera_to_ego, label).ndim == 2
            checked = check_poses(self.camera_to_ego, label, (4, 4) if is_fixed else (None, 4, 4))
            object.__setattr__(self, "camera_to_ego", checked)
        if self.image_times_us is not None:
            label = f"camera {self.name}: image_times_us"
            times = freeze_array(self.image_times_us, np.int64, label, (None,))
            if (times < 0).any() or (np.diff(times) < 0).any():
                raise UserError(f"{label} must be positive and not decrease")
            object.__setattr__(self, "image_times_us", times)
        if self.image_tokens is not None:
            object.__setattr__(
                self, "image_tokens", check_texts(self.image_tokens, f"camera {self.name}: image_tokens")
            )

    @property
    def is_calibrated(self) -> bool:
        return self.intrinsics is not None and self.camera_to_ego is not None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Track:
    """One object through the clip, as a box per frame.

    ``id`` is unique in the scene; ``category`` is a nuScenes category such as ``vehicle.car``, or ``object``. ``size``
    ``(3,)`` is (length, width, height) in meters along the box's x, y, z. ``box_to_world`` ``(T, 4, 4)`` is the pose
    of the box center, translation in meters; it is undefined in frames where ``present`` ``(T,)`` is False.

    ``lidar_points`` ``(T,)`` int64 is the number of recorded lidar points on the box, -1 in frames where it is unknown;
    ``attributes`` are T annotated attributes, such as ``vehicle.parked``, "" where unknown. Either is None if unknown
    in all frames.
    """

    id: str
    category: str
    size: Array
    box_to_world: Array
    present: NDArray[np.bool_]
    lidar_points: NDArray[np.int64] | None = None
    attributes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        label = f"track {shorten(self.id)}"
        object.__setattr__(self, "size", check_meters(self.size, f"{label}: size", (3,)))
        if (self.size <= 0).any():
            raise UserError(f"{label}: size {self.size.tolist()} must be positive")
        poses = check_poses(self.box_to_world, f"{label}: box_to_world", (None, 4, 4))
        object.__setattr__(self, "box_to_world", poses)
        present = freeze_array(self.present, np.bool_, f"{label}: present", (len(poses),))
        object.__setattr__(self, "present", present)
        if self.lidar_points is not None:
            points = freeze_array(self.lidar_points, np.int64, f"{label}: lidar_points", (len(poses),))
            if (points < -1).any():
                raise UserError(f"{label}: lidar_points must be counts, or -1 if unknown")
            object.__setattr__(self, "lidar_points", points)
        if self.attributes is not None:
            object.__setattr__(self, "attributes", check_texts(self.attributes, f"{label}: attributes"))
            if len(self.attributes) != len(poses):
                raise UserError(f"{label}: attributes must be {len(poses)} strings, got {len(self.attributes)}")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Lane:
    """A lane line: a ``boundary`` of the road, a ``divider`` between lanes, or the outline of a ``crossing``.

    ``points`` ``(N, 3)`` is a polyline in the world frame, in meters.
    """

    kind: str
    points: Array

    def __post_init__(self) -> None:
        if self.kind not in LANE_KINDS:
            raise UserError(f"lane kind {shorten(self.kind)!r} is not one of {', '.join(LANE_KINDS)}")
        object.__setattr__(self, "points", check_meters(self.points, f"{self.kind} lane: points", (None, 3)))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scene:
    """Everything about a clip except its pixels.

    ``clip_id`` identifies the clip; ``domain`` groups clips of one kind, such as ``driving-day``; ``caption`` is free
    text. ``timestamps`` ``(T,)`` are the frame times of the first camera in seconds, strictly increasing.
    ``ego_to_world`` ``(T, 4, 4)`` is the ego pose at each timestamp, translation in meters, or None if unknown.
    ``source`` names the recording, ``recording_token`` is its token in its tables, ``split`` the data split; "" if
    unknown.

    The last ``held_frames`` frames are padding past the end of a short recording: poses and boxes are extrapolated at
    constant velocity and the last recorded image is repeated. Training and evaluation must skip them.
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
    recording_token: str = ""

    def __post_init__(self) -> None:
        if not CLIP_ID.fullmatch(self.clip_id):
            raise UserError(f"clip id {shorten(self.clip_id)!r} may hold only a-z, 0-9, '-' and '_'")
        times = freeze_array(self.timestamps, np.float64, f"{self.clip_id}: timestamps", (None,))
        if (np.abs(times) > MAX_TIME_S).any():
            raise UserError(f"{self.clip_id}: timestamps exceed {MAX_TIME_S:.0e} s; are they in seconds?")
        if len(times) < 1 or (np.diff(times) < MIN_STEP_S).any():
            raise UserError(
                f"{self.clip_id}: timestamps must be at least one and strictly increase, by {MIN_STEP_S:.0e} s or more"
            )
        object.__setattr__(self, "timestamps", times)
        if self.ego_to_world is not None:
            poses = check_poses(self.ego_to_world, f"{self.clip_id}: ego_to_world", (len(times), 4, 4))
            object.__setattr__(self, "ego_to_world", poses)
        if not 0 <= self.held_frames < len(times):
            raise UserError(f"{self.clip_id}: held_frames {self.held_frames} must be in 0..{len(times) - 1}")
        if not self.cameras or len({c.name for c in self.cameras}) != len(self.cameras):
            raise UserError(f"{self.clip_id}: needs at least one camera, and camera names must differ")
        if len({t.id for t in self.tracks}) != len(self.tracks):
            raise UserError(f"{self.clip_id}: track ids must differ")
        self._check_lengths()

    def _check_lengths(self) -> None:
        """Raise UserError if a camera or track has another number of frames than the scene."""
        lengths = [
            (f"camera {camera.name}", len(camera.camera_to_ego))
            for camera in self.cameras
            if camera.camera_to_ego is not None and camera.camera_to_ego.ndim == 3
        ]
        lengths += [(f"track {track.id}", len(track.present)) for track in self.tracks]
        for camera in self.cameras:
            for name in ("image_times_us", "image_tokens"):
                if (values := getattr(camera, name)) is not None:
                    lengths.append((f"camera {camera.name}: {name}", len(values)))
        for label, length in lengths:
            if length != self.num_frames:
                raise UserError(
                    f"{self.clip_id}: {shorten(label)} has {length} frames, the scene has {self.num_frames}"
                )

    @property
    def num_frames(self) -> int:
        return len(self.timestamps)

    @property
    def frame_rate(self) -> float:
        """Frame rate in Hz, from the median time step; 0 for a single frame."""
        return float(1.0 / np.median(np.diff(self.timestamps))) if self.num_frames > 1 else 0.0

    def camera(self, name: str) -> Camera:
        for camera in self.cameras:
            if camera.name == name:
                return camera
        raise UserError(f"{self.clip_id}: no camera {name!r}; choose from {', '.join(c.name for c in self.cameras)}")

    def camera_to_world(self, camera: Camera) -> Array:
        """``(T, 4, 4)`` pose of ``camera`` in every frame; raises UserError if ego pose or extrinsics are unknown."""
        if self.ego_to_world is None or camera.camera_to_ego is None:
            raise UserError(f"{self.clip_id}: camera {camera.name} has no pose (ego pose or extrinsics are missing)")
        return np.asarray(self.ego_to_world @ camera.camera_to_ego)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Clip:
    """A Scene and its pixels: ``frames`` ``(V, T, H, W, 3)`` uint8 RGB, one view per camera of ``scene.cameras``."""

    scene: Scene
    frames: NDArray[np.uint8] = field(repr=False)

    def __post_init__(self) -> None:
        scene, frames = self.scene, self.frames
        first = scene.cameras[0]
        expected = (len(scene.cameras), scene.num_frames, first.height, first.width, 3)
        if frames.dtype != np.uint8 or frames.shape != expected:
            raise UserError(f"{scene.clip_id}: frames must be uint8 {expected}, got {frames.dtype} {frames.shape}")
        if any((c.height, c.width) != (first.height, first.width) for c in scene.cameras):
            raise UserError(f"{scene.clip_id}: all cameras of a clip must have the same image size")
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
        """The same pixels with changes to the scene, for example another commanded pose."""
        return Clip(scene=replace(self.scene, **changes), frames=self.frames)  # type: ignore[arg-type]
