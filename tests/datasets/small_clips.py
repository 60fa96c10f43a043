"""Small clips built by hand."""

import io
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import FORWARD_CAMERA_TO_EGO, pose, yaw_rotation
from driveforge.datasets.scene import Camera, Clip, Lane, Scene, Track
from driveforge.datasets.webdataset_shards.format import clip_members


def smooth_frames(num_frames: int, height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Images ``(T, H, W, 3)`` of large color blobs that move to the left by 2 px per frame."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, : width + 2 * num_frames].astype(float)
    waves = [np.sin(rng.uniform(0.05, 0.15) * x + rng.uniform(0.05, 0.15) * y + rng.uniform(0, 6)) for _ in range(3)]
    image = np.round(127.5 + 100 * np.stack(waves, -1)).astype(np.uint8)
    return np.stack([image[:, 2 * t : 2 * t + width] for t in range(num_frames)])


def small_scene(
    clip_id: str = "drive-1",
    *,
    num_frames: int = 9,
    cameras: tuple[str, ...] = ("CAM_FRONT",),
    height: int = 48,
    width: int = 80,
    split: str = "train",
) -> Scene:
    """A car ahead, a pedestrian present in the first third, a lane divider, and timestamps that are not round."""
    headings = 0.3 + 0.01 * np.arange(num_frames)
    path = pose(yaw_rotation(headings), np.arange(num_frames)[:, None] * [0.8, 0.1, 0.0] + [500.0, 400.0, 0.0])
    intrinsics = np.array([[60.1, 0, 39.7], [0, 60.2, 23.3], [0, 0, 1]])
    mount = pose(FORWARD_CAMERA_TO_EGO[:3, :3], [1.5, 0.0, 1.6])
    ahead = path @ pose(np.eye(3), [12.0, 1.0, 0.8])
    early = np.arange(num_frames) < num_frames // 3
    return Scene(
        clip_id=clip_id,
        domain="driving-day",
        caption="eine Straße, daytime",
        timestamps=1.5e9 + np.arange(num_frames) / 10 + 1e-3 / 3,
        cameras=tuple(
            Camera(name=name, width=width, height=height, intrinsics=intrinsics, camera_to_ego=mount)
            for name in cameras
        ),
        ego_to_world=path,
        tracks=(
            Track(
                id="a1",
                category="vehicle.car",
                size=[4.1, 1.8, 1.6],
                box_to_world=ahead,
                present=np.ones(num_frames, bool),
            ),
            Track(id="b2", category="human.pedestrian", size=[0.6, 0.7, 1.7], box_to_world=ahead, present=early),
        ),
        lanes=(Lane(kind="divider", points=[[500, 400, 0], [530, 404, 0.1]]),),
        source="by hand",
        split=split,
    )


def small_clip(clip_id: str = "drive-1", *, seed: int = 0, **scene_fields: object) -> Clip:
    scene = small_scene(clip_id, **scene_fields)  # type: ignore[arg-type]
    first = scene.cameras[0]
    views = [smooth_frames(scene.num_frames, first.height, first.width, seed + i) for i in range(len(scene.cameras))]
    return Clip(scene=scene, frames=np.stack(views))


def bare_clip(clip_id: str = "bare-1", num_frames: int = 9) -> Clip:
    """Pixels and times only: no calibration, no pose, no tracks."""
    scene = Scene(
        clip_id=clip_id,
        domain="video",
        timestamps=np.arange(num_frames) / 10,
        cameras=(Camera(name="camera", width=80, height=48),),
    )
    return Clip(scene=scene, frames=smooth_frames(num_frames, 48, 80)[None])


def recorded_clip(clip_id: str = "recorded-1", **scene_fields: object) -> Clip:
    """A small clip with everything that only its recording knows: image times and tokens, lidar points, attributes."""
    clip = small_clip(clip_id, **scene_fields)  # type: ignore[arg-type]
    scene = clip.scene
    times = 1_533_201_470_000_123 + 100_000 * np.arange(scene.num_frames)
    cameras = tuple(
        replace(camera, image_times_us=times, image_tokens=tuple(f"image-{t}" for t in range(scene.num_frames)))
        for camera in scene.cameras
    )
    points = np.where(np.arange(scene.num_frames) % 5 == 0, 17, -1)
    attributes = tuple("vehicle.parked" if t % 2 else "" for t in range(scene.num_frames))
    tracks = (replace(scene.tracks[0], lidar_points=points, attributes=attributes), *scene.tracks[1:])
    return clip.with_scene(cameras=cameras, tracks=tracks, recording_token="scene-token")


def older_members(clip: Clip, version: int, metadata: Mapping[str, Any] | None = None) -> dict[str, bytes]:
    """The members of ``clip`` as version 1 or 2 wrote them."""
    members = clip_members(clip, metadata or {})
    record = json.loads(members["json"])
    added = ("recording_token", "derived_from_split", "weather", "time_of_day", "num_objects")
    record = {key: value for key, value in record.items() if key not in added} | {"schema_version": version}
    for camera in record["cameras"]:
        del camera["image_times_us"], camera["image_tokens"]
        camera["intrinsics"], camera["camera_to_ego"] = camera["intrinsics"] or None, camera["camera_to_ego"] or None
        if version == 1 and camera["camera_to_ego"]:
            camera["camera_to_ego"] = camera["camera_to_ego"][0]
    if version == 1:
        record["lanes"] = json.loads(record["lanes"])
    tracks = io.BytesIO()
    with np.load(io.BytesIO(members["tracks.npz"])) as arrays:
        names = ("ids", "categories", "sizes", "box_to_world", "present")
        np.savez_compressed(tracks, **{name: arrays[name] for name in names})
    dropped = {"annotations.npz", "ego_motion.npz"} | ({"poses.npy"} if clip.scene.ego_to_world is None else set())
    kept = {name: data for name, data in members.items() if name not in dropped}
    return kept | {"json": json.dumps(record).encode(), "tracks.npz": tracks.getvalue()}


def moving_mount(scene: Scene) -> Scene:
    """``scene`` with extrinsics that change per frame."""
    shift = pose(np.eye(3), np.arange(scene.num_frames)[:, None] * [0.01, 0.0, 0.0])
    cameras = tuple(replace(camera, camera_to_ego=shift @ camera.camera_to_ego) for camera in scene.cameras)
    return replace(scene, cameras=cameras)


def assert_same_scene(actual: Scene, expected: Scene) -> None:
    """Every field is equal, arrays bit for bit."""
    for name in ("clip_id", "domain", "caption", "source", "split", "held_frames", "recording_token"):
        assert getattr(actual, name) == getattr(expected, name)
    _assert_same(actual.timestamps, expected.timestamps)
    _assert_same(actual.ego_to_world, expected.ego_to_world)
    for a, b in zip(actual.cameras, expected.cameras, strict=True):
        assert (a.name, a.width, a.height, a.image_tokens) == (b.name, b.width, b.height, b.image_tokens)
        _assert_same(a.image_times_us, b.image_times_us)
        _assert_same(a.intrinsics, b.intrinsics)
        _assert_same(a.camera_to_ego, b.camera_to_ego)
    for a, b in zip(actual.tracks, expected.tracks, strict=True):
        assert (a.id, a.category, a.attributes) == (b.id, b.category, b.attributes)
        _assert_same(a.lidar_points, b.lidar_points)
        _assert_same(a.size, b.size)
        _assert_same(a.box_to_world, b.box_to_world)
        _assert_same(a.present, b.present)
    for a, b in zip(actual.lanes, expected.lanes, strict=True):
        assert a.kind == b.kind
        _assert_same(a.points, b.points)


def _assert_same(actual: NDArray[Any] | None, expected: NDArray[Any] | None) -> None:
    if expected is None:
        assert actual is None
    else:
        assert actual is not None and actual.dtype == expected.dtype
        np.testing.assert_array_equal(actual, expected)
