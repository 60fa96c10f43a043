"""Scenes written as ClipGT and read back."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from driveforge.datasets.clipgt.source import ClipGtSource
from driveforge.datasets.clipgt.writer import write_clipgt
from driveforge.datasets.errors import UserError
from driveforge.datasets.geometry import Array, inverse, pose
from driveforge.datasets.scene import LANE_KINDS, Camera, Lane, Scene, Track
from tests.datasets.small_clips import bare_clip, small_scene

CATEGORIES = ("vehicle.car", "vehicle.bicycle", "human.pedestrian.child", "movable_object.barrier", "object")


def random_poses(rng: np.random.Generator, count: int, reach: float) -> Array:
    return pose(Rotation.random(count, random_state=rng).as_matrix(), rng.uniform(-reach, reach, (count, 3)))


def random_drive(rng: np.random.Generator, count: int) -> Array:
    """Poses of a vehicle, which is never upside down."""
    angles = rng.uniform((-np.pi, -0.4, -0.4), (np.pi, 0.4, 0.4), (count, 3))
    return pose(Rotation.from_euler("ZYX", angles).as_matrix(), rng.uniform(-5000.0, 5000.0, (count, 3)))


def random_camera(rng: np.random.Generator, name: str, num_frames: int) -> Camera:
    width = int(rng.integers(16, 2000))
    height = int(width * rng.uniform(0.4, 1.5))
    focal = rng.uniform(0.3, 3.0) * width
    center = rng.uniform(0.4, 0.6, 2) * (width, height)
    intrinsics = [[focal, rng.uniform(-0.01, 0.01) * focal, center[0]], [0, focal * rng.uniform(0.8, 1.2), center[1]]]
    mounts = random_poses(rng, num_frames, 3.0)
    return Camera(
        name=name,
        width=width,
        height=height,
        intrinsics=np.array([*intrinsics, [0, 0, 1]]),
        camera_to_ego=mounts if rng.random() < 0.5 else mounts[0],
    )


def random_lane(rng: np.random.Generator) -> Lane:
    points = rng.uniform(-500, 500, (int(rng.integers(3, 9)), 3))
    kind = LANE_KINDS[rng.integers(3)]
    return Lane(kind=kind, points=np.concatenate([points, points[:1]]) if kind == "crossing" else points)


def random_scene(seed: int) -> Scene:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 9))
    times = rng.choice([0.0, 1.5e9]) + np.cumsum(rng.uniform(0.001, 0.7, count))
    tracks = tuple(
        Track(
            id=f"t-{number}",
            category=CATEGORIES[rng.integers(len(CATEGORIES))],
            size=rng.uniform(0.1, 12, 3),
            box_to_world=random_poses(rng, count, 5000.0),
            present=rng.random(count) < 0.6,
        )
        for number in range(int(rng.integers(0, 5)))
    )
    names = ("CAM_FRONT", "CAM_BACK", "left", "Top-2")[: int(rng.integers(1, 5))]
    return Scene(
        clip_id=f"clip-{seed}",
        domain="driving-rain",
        timestamps=times,
        cameras=tuple(random_camera(rng, name, count) for name in names),
        ego_to_world=random_drive(rng, count),
        caption="  a caption\nof two lines ",
        tracks=tracks,
        lanes=tuple(random_lane(rng) for _ in range(int(rng.integers(0, 6)))),
        source="by hand",
        split="val",
        recording_token="r-1",
    )


def written(scene: Scene, *, alone: bool = False) -> Scene:
    """``scene`` after a round trip; ``alone`` without the file that only we read."""
    with TemporaryDirectory() as folder:
        write_clipgt(Path(folder) / scene.clip_id, scene)
        if alone:
            (Path(folder) / scene.clip_id / f"{scene.clip_id}.driveforge.json").unlink()
        return ClipGtSource(Path(folder), None).scenes()[0]


def assert_close(found: Array, expected: Array, tolerance: float = 1e-6) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


def assert_same_tracks(found: Scene, expected: Scene, world: Array) -> None:
    """``world`` maps the world of ``expected`` to that of ``found``."""
    kept = [track for track in expected.tracks if track.present.any()]
    assert [track.id for track in found.tracks] == [track.id for track in kept]
    for track, other in zip(found.tracks, kept, strict=True):
        assert track.present.tolist() == other.present.tolist()
        assert_close(track.size, other.size)
        assert_close(track.box_to_world[track.present], (world @ other.box_to_world)[other.present])


def assert_same_lanes(found: Scene, expected: Scene, world: Array) -> None:
    for kind in LANE_KINDS:
        lanes = [lane.points for lane in found.lanes if lane.kind == kind]
        others = [lane.points for lane in expected.lanes if lane.kind == kind]
        assert len(lanes) == len(others)
        for points, other in zip(lanes, others, strict=True):
            assert_close(points, other @ world[:3, :3].T + world[:3, 3])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_random_scenes_come_back_within_a_millionth(seed: int) -> None:
    scene = random_scene(seed)
    found = written(scene)
    for name in ("clip_id", "domain", "caption", "source", "split", "held_frames", "recording_token"):
        assert getattr(found, name) == getattr(scene, name)
    assert_close(found.timestamps, scene.timestamps)
    assert found.ego_to_world is not None and scene.ego_to_world is not None
    assert_close(found.ego_to_world, scene.ego_to_world)
    assert_same_tracks(found, scene, np.eye(4))
    assert [track.category for track in found.tracks] == [t.category for t in scene.tracks if t.present.any()]
    assert_same_lanes(found, scene, np.eye(4))
    for camera, other in zip(found.cameras, scene.cameras, strict=True):
        assert (camera.name, camera.width, camera.height) == (other.name, other.width, other.height)
        assert camera.intrinsics is not None and camera.camera_to_ego is not None
        assert_close(camera.intrinsics, other.intrinsics)  # type: ignore[arg-type]
        assert_close(camera.camera_to_ego, other.camera_to_ego)  # type: ignore[arg-type]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([10.0, 12.0, 30.0]))
def test_the_tables_alone_hold_the_motion_in_the_first_ego_frame(seed: int, rate: float) -> None:
    scene = random_scene(seed)
    everywhere = np.ones(scene.num_frames, bool)
    scene = replace(
        scene,
        timestamps=scene.timestamps[0] + np.arange(scene.num_frames) / rate,
        tracks=tuple(replace(t, present=everywhere) for t in scene.tracks) if scene.num_frames > 1 else (),
        cameras=(small_scene().cameras[0],),
    )
    found = written(scene, alone=True)
    assert scene.ego_to_world is not None and found.ego_to_world is not None
    world = inverse(scene.ego_to_world[0])
    assert_close(found.ego_to_world[0], np.eye(4))
    assert_close(found.ego_to_world, world @ scene.ego_to_world)
    assert_close(found.timestamps, scene.timestamps)
    assert_same_tracks(found, scene, world)
    assert_same_lanes(found, scene, world)
    assert (found.domain, found.caption) == ("driving-day", scene.caption.strip())
    assert_close(found.cameras[0].camera_to_ego, scene.cameras[0].camera_to_ego)  # type: ignore[arg-type]


def test_held_frames_are_left_out(tmp_path: Path) -> None:
    scene = replace(small_scene(num_frames=9), held_frames=3)
    write_clipgt(tmp_path, scene)
    (found,) = ClipGtSource(tmp_path, None).scenes()
    assert (found.num_frames, found.held_frames) == (6, 0)
    assert_close(found.timestamps, scene.timestamps[:6])


def test_the_same_scene_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_clipgt(tmp_path / name, random_scene(1))
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(files) >= 8
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files)


def test_scenes_without_pose_or_calibration_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="drive-1: cannot be written as ClipGT, it has no ego pose"):
        write_clipgt(tmp_path, replace(small_scene(), ego_to_world=None))
    unknown = replace(small_scene(), cameras=bare_clip().scene.cameras)
    with pytest.raises(UserError, match="it has no calibration of camera"):
        write_clipgt(tmp_path, unknown)
    with pytest.raises(UserError, match="same microsecond"):
        write_clipgt(tmp_path, replace(small_scene(num_frames=2), timestamps=[0.0, 2e-7]))
    assert list(tmp_path.iterdir()) == []


def test_an_export_whose_ego_motion_was_cut_says_what_to_delete(tmp_path: Path) -> None:
    write_clipgt(tmp_path, small_scene("a"))
    (path,) = tmp_path.rglob("*.egomotion_estimate.parquet")
    pq.write_table(pq.read_table(path).slice(0, 5), path)
    with pytest.raises(UserError, match=r"driveforge.json: describes 9 frames, of which .* covers 5; delete it to"):
        ClipGtSource(tmp_path, None, ["CAM_FRONT"])
    next(tmp_path.rglob("*.driveforge.json")).unlink()
    assert ClipGtSource(tmp_path, None, ["CAM_FRONT"]).scenes()[0].num_frames == 5
