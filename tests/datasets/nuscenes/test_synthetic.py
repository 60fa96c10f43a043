"""Generated clips as nuScenes scenes: what is written is what is read back, at 2 Hz key frames."""

import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nuscenes.nuscenes import NuScenes
from nuscenes.utils.geometry_utils import points_in_box

from driveforge.datasets.geometry import Array, pose, yaw_rotation
from driveforge.datasets.nuscenes.source import NuScenesSource
from driveforge.datasets.nuscenes.synthetic import (
    exported_frames,
    find_export_obstacle,
    key_frames_at_2_hz,
    map_translation,
    write_synthetic_clip,
)
from driveforge.datasets.nuscenes.taxonomy import CATEGORIES, make_token
from driveforge.datasets.nuscenes.writer import NuScenesWriter
from driveforge.datasets.scene import Clip, Scene, Track
from driveforge.datasets.select_frames import select_frames
from tests.datasets.nuscenes.world import camera, small_frame, small_scene, track

VERSION = "v1.0-trainval"


def write_clips(root: Path, *scenes: Scene) -> NuScenes:
    with NuScenesWriter(root, VERSION) as writer:
        for scene in scenes:
            views = range(len(scene.cameras))
            frames = np.stack([[small_frame(v, t) for t in range(scene.num_frames)] for v in views])
            writer.add_rows(scene, json.loads(json.dumps(write_synthetic_clip(root, Clip(scene=scene, frames=frames)))))
    return NuScenes(VERSION, str(root), verbose=False)


def long_scene(num_frames: int, rate: float, tracks: tuple[Track, ...] = (), **changes: object) -> Scene:
    """A straight drive at 8 m/s."""
    seconds = np.arange(num_frames) / rate
    path = pose(np.eye(3), np.array([300.0, 200.0, 0.0]) + seconds[:, None] * [8.0, 0.0, 0.0])
    values: dict[str, object] = {
        "cameras": (camera("CAM_FRONT", 0.0),),
        "timestamps": seconds,
        "ego_to_world": path,
        "tracks": tracks,
    }
    return small_scene(**values | changes)


@pytest.mark.parametrize(
    ("num_frames", "rate", "keys"),
    [
        (17, 10.0, [0, 5, 10, 15]),
        (16, 10.0, [0, 5, 10, 15]),
        (15, 10.0, [0, 5, 10]),
        (25, 12.0, [0, 6, 12, 18, 24]),
        (81, 16.0, list(range(0, 81, 8))),
        (51, 25.0, [0, 12, 25, 37, 50]),  # 0.48 and 0.52 s, without drift
        (5, 2.0, [0, 1, 2, 3, 4]),
        (3, 1.0, [0, 1, 2]),
        (5, 10.0, [0]),
        (1, 10.0, [0]),
    ],
)
def test_key_frames_are_half_a_second_apart_at_any_rate(num_frames: int, rate: float, keys: list[int]) -> None:
    assert key_frames_at_2_hz(7.0 + np.arange(num_frames) / rate).tolist() == keys


def test_samples_are_0_5_s_apart_with_sweeps_between(tmp_path: Path) -> None:
    nusc = write_clips(tmp_path, long_scene(17, 10.0, timestamps=1.5e9 + np.arange(17) / 10))
    times = [sample["timestamp"] for sample in nusc.sample]
    assert np.diff(times).tolist() == [500_000] * 3
    for channel in ("CAM_FRONT", "LIDAR_TOP"):
        frames = [row for row in nusc.sample_data if row["channel"] == channel]
        assert [row["is_key_frame"] for row in frames] == [n % 5 == 0 for n in range(16)]
        chain, token = [], nusc.sample[-1]["data"][channel]
        while token:
            chain.append(token)
            token = nusc.get("sample_data", token)["prev"]
        assert chain == [row["token"] for row in reversed(frames)]


def test_held_frames_are_left_out(tmp_path: Path) -> None:
    scene = long_scene(17, 10.0, held_frames=4)
    assert exported_frames(scene).tolist() == list(range(11))
    assert len(write_clips(tmp_path, scene).sample) == 3


def test_what_cannot_be_exported_is_told() -> None:
    assert find_export_obstacle(small_scene()) == ""
    assert "the clip is shorter" in find_export_obstacle(long_scene(5, 10.0))
    assert "the clip is shorter" in find_export_obstacle(long_scene(17, 10.0, held_frames=13))
    assert "need an ego pose" in find_export_obstacle(small_scene(ego_to_world=None))
    assert "'object' is not a" in find_export_obstacle(
        long_scene(11, 10.0, (track("a", "object", (310, 200), (0, 0)),))
    )


def test_every_box_has_points_of_the_cloud_also_if_it_is_hidden_or_far(tmp_path: Path) -> None:
    boxes = (
        track("ahead", "vehicle.truck", (312, 200), (8.0, 0.0), size=(6.0, 2.5, 3.0)),
        track("hidden", "vehicle.car", (325, 200), (8.0, 0.0), size=(4.0, 1.6, 1.4)),
        track("far", "human.pedestrian.adult", (420, 240), (0.0, 0.0), size=(0.5, 0.5, 1.7)),
        track("behind", "vehicle.car", (280, 200), (8.0, 0.0)),
        track("here", "vehicle.bus.rigid", (301, 200), (8.0, 0.0), size=(12.0, 3.0, 3.5)),  # around the lidar
    )
    nusc = write_clips(tmp_path, long_scene(11, 10.0, boxes))
    assert len(nusc.sample_annotation) == 15
    for sample in nusc.sample:
        path, in_lidar, _ = nusc.get_sample_data(sample["data"]["LIDAR_TOP"])
        cloud = np.fromfile(path, np.float32).reshape(-1, 5)
        assert len(cloud) > 1000
        for box in in_lidar:
            row = nusc.get("sample_annotation", box.token)
            inside = points_in_box(box, cloud[:, :3].T.astype(np.float64), wlh_factor=1.01).sum()
            assert inside >= row["num_lidar_pts"] >= 1
            assert row["visibility_token"] in "1234" and len(row["attribute_tokens"]) <= 1


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """Curved drives at 5 to 20 Hz with 1 or 2 cameras; boxes at constant velocity and yaw rate, some absent."""
    rate, num_frames = draw(st.sampled_from([5.0, 10.0, 12.0, 20.0])), draw(st.integers(12, 26))
    seconds = np.arange(num_frames) / rate
    small = st.floats(-1, 1, allow_subnormal=False)
    yaw = draw(small) * 3 + 0.3 * draw(small) * seconds
    position = np.array([draw(small) * 5000, draw(small) * 5000, draw(small)])
    path = pose(yaw_rotation(yaw), position + np.cumsum(_heading(yaw), 0) * (10 / rate))

    def box(number: int) -> Track:
        heading = draw(small) * np.pi + 0.5 * draw(small) * seconds
        start = path[0, :3, 3] + np.array([draw(small) * 40, draw(small) * 40, 1.0])
        velocity = 15 * abs(draw(small)) * _heading(heading[0]) + [0.0, 0.0, 0.1 * draw(small)]
        center = start + seconds[:, None] * velocity
        first, last = sorted((draw(st.integers(0, num_frames - 1)), draw(st.integers(0, num_frames - 1))))
        frames = np.arange(num_frames)
        return Track(
            id=f"t{number}",
            category=draw(st.sampled_from(CATEGORIES)),
            size=np.array([1.0 + 5 * abs(draw(small)), 1.0 + abs(draw(small)), 1.5]),
            box_to_world=pose(yaw_rotation(heading), center),
            present=(frames >= first) & (frames <= last),
        )

    cameras = [camera("CAM_FRONT", 0.0), camera("CAM_BACK", np.pi)][: draw(st.integers(1, 2))]
    if len(cameras) == 2 and draw(st.booleans()):  # a camera that triggers at other times
        lag = pose(yaw_rotation(0.01 * np.arange(num_frames) / num_frames), [0.2, 0.0, 0.0])
        cameras[1] = replace(cameras[1], camera_to_ego=lag @ cameras[1].camera_to_ego)
    return small_scene(
        draw(st.sampled_from(["a", "drive-1_x", "0"])),
        timestamps=seconds,
        ego_to_world=path,
        cameras=tuple(cameras),
        tracks=tuple(box(n) for n in range(draw(st.integers(0, 4)))),
        lanes=(),
        domain=draw(st.sampled_from(["driving-day", "driving-dusk", "driving-rain"])),
        caption="driving on a street",
        split=draw(st.sampled_from(["train", "val", "held_out"])),
    )


def _heading(yaw: Array) -> Array:
    return np.stack([np.cos(yaw), np.sin(yaw), 0 * yaw], -1)


@given(scene=scenes())
@settings(max_examples=25, deadline=None)
def test_a_scene_is_read_back_as_it_was(scene: Scene) -> None:
    with TemporaryDirectory() as folder:
        nusc = write_clips(Path(folder), scene)
        names = [c.name for c in scene.cameras]
        (read,) = NuScenesSource(Path(folder), VERSION, None, cameras=names).scenes()
        expected = select_frames(scene, exported_frames(scene))
        assert expected.ego_to_world is not None and read.ego_to_world is not None
        moved = np.array([*map_translation(scene), 0.0])
        assert (read.domain, read.split) == (scene.domain, scene.split)
        assert read.caption.endswith(scene.caption) and "synthetic" not in read.caption
        assert nusc.scene[0]["description"].startswith("Synthetic: ")
        np.testing.assert_allclose(read.timestamps, expected.timestamps, rtol=0, atol=1e-6)
        np.testing.assert_allclose(read.ego_to_world[:, :3, :3], expected.ego_to_world[:, :3, :3], rtol=0, atol=1e-6)
        np.testing.assert_allclose(
            read.ego_to_world[:, :3, 3], expected.ego_to_world[:, :3, 3] + moved, rtol=0, atol=1e-6
        )
        for a, b in zip(read.cameras, expected.cameras, strict=True):
            assert a.name == b.name and a.intrinsics is not None and a.camera_to_ego is not None
            np.testing.assert_allclose(a.intrinsics, b.intrinsics, rtol=0, atol=1e-6)
            np.testing.assert_allclose(a.camera_to_ego, b.camera_to_ego, rtol=0, atol=1e-6)
        _check_tracks(read, expected, moved)
        _check_velocities(nusc, expected)


def _check_tracks(read: Scene, expected: Scene, moved: Array) -> None:
    """Every box of a key frame is there; between key frames, boxes that both have are interpolated."""
    keys = key_frames_at_2_hz(expected.timestamps)
    by_id = {track.id: track for track in read.tracks}
    for box in expected.tracks:
        actual = by_id.pop(make_token(expected.clip_id, "instance", box.id), None)
        if actual is None:
            assert not box.present[keys].any()
            continue
        assert actual.category == box.category
        np.testing.assert_array_equal(actual.present[keys], box.present[keys])
        assert not (actual.present & ~box.present).any()
        np.testing.assert_allclose(actual.size, box.size, rtol=0, atol=1e-6)
        # Between key frames, boxes are interpolated at times that are rounded to microseconds.
        for frames, tolerance in ((keys[actual.present[keys]], 1e-6), (actual.present, 1e-5)):
            centers = box.box_to_world[frames, :3, 3] + moved
            np.testing.assert_allclose(actual.box_to_world[frames, :3, 3], centers, rtol=0, atol=tolerance)
            rotations = box.box_to_world[frames, :3, :3]
            np.testing.assert_allclose(actual.box_to_world[frames, :3, :3], rotations, rtol=0, atol=tolerance)
    assert not by_id


def _check_velocities(nusc: NuScenes, scene: Scene) -> None:
    """The devkit derives the velocity of every box that two samples have."""
    for box in scene.tracks:
        chain = [
            row
            for row in nusc.sample_annotation
            if row["instance_token"] == make_token(scene.clip_id, "instance", box.id)
        ]
        steps = np.diff(box.box_to_world[[0, -1], :3, 3], axis=0)[0] / (scene.timestamps[-1] - scene.timestamps[0])
        for row in chain if len(chain) > 1 else []:
            np.testing.assert_allclose(nusc.box_velocity(row["token"]), steps, rtol=0, atol=1e-4)
