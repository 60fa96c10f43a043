"""Clips from nuScenes tables: round trip of written scenes, interpolation, framing and padding."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from driveforge.datasets.geometry import box_corners, inverse, project, transform, yaw_from_pose
from driveforge.datasets.nuscenes.source import NuScenesSource
from driveforge.datasets.nuscenes.writer import NuScenesWriter
from driveforge.datasets.scene import Scene, Track
from tests.datasets.nuscenes.world import (
    HEIGHT,
    NUM_FRAMES,
    VERSION,
    WIDTH,
    camera,
    edit_table,
    real_data,
    small_frame,
    small_scene,
    write_world,
)
from tests.defaults import make_framing

TABLES = ("scene", "sample_data", "sample_annotation", "attribute")
SMALL = make_framing(height=32, width=56, frame_rate=10, num_frames=5, stride=3)


def by_category(scene: Scene) -> dict[str, Track]:
    return {track.category: track for track in scene.tracks}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"))


def test_a_written_scene_is_read_back(world: Path) -> None:
    written = small_scene()
    source = NuScenesSource(world, VERSION, None, cameras=("CAM_FRONT", "CAM_BACK"))
    (scene,) = source.scenes()
    assert (scene.clip_id, scene.domain, scene.caption) == (
        "sim-0001-cam_front-x2-000",
        written.domain,
        written.caption,
    )
    assert np.allclose(scene.timestamps, written.timestamps, atol=1e-6)
    assert np.allclose(scene.ego_to_world, written.ego_to_world, atol=1e-6)
    for actual, mounted in zip(scene.cameras, written.cameras, strict=True):
        assert (actual.name, actual.height, actual.width) == (mounted.name, HEIGHT, WIDTH)
        assert np.allclose(actual.intrinsics, mounted.intrinsics, atol=1e-9)
        assert np.allclose(actual.camera_to_ego, mounted.camera_to_ego, atol=1e-9)
    assert [(lane.kind, lane.points.tolist()) for lane in scene.lanes] == [
        (lane.kind, lane.points.tolist()) for lane in written.lanes
    ]
    clip = source.load(scene)
    assert clip.frames.shape == (2, NUM_FRAMES, HEIGHT, WIDTH, 3)
    for view in range(2):
        for t in range(NUM_FRAMES):
            assert np.abs(clip.frames[view, t].astype(int) - small_frame(view, t)).max() <= 6


def test_boxes_are_interpolated_between_key_frames(world: Path) -> None:
    actual = by_category(NuScenesSource(world, VERSION, None).scenes()[0])
    written = by_category(small_scene())
    for category in ("vehicle.car", "vehicle.truck"):
        assert actual[category].present.all()
        assert np.allclose(actual[category].size, written[category].size)
        assert np.allclose(actual[category].box_to_world, written[category].box_to_world, atol=1e-4)


def test_a_box_annotated_at_one_end_only_is_not_present(world: Path) -> None:
    walker = by_category(NuScenesSource(world, VERSION, None).scenes()[0])["human.pedestrian.adult"]
    assert walker.present.tolist() == [False] * 10 + [True]  # present from frame 6; key frames are 0, 5 and 10


def test_what_only_the_tables_know_is_kept(world: Path) -> None:
    """Absolute times and tokens of the images, lidar points at key frames, attributes that both key frames share."""
    tables = {name: json.loads((world / VERSION / f"{name}.json").read_bytes()) for name in TABLES}
    source = NuScenesSource(world, VERSION, SMALL, cameras=("CAM_FRONT", "CAM_BACK"))
    scene = source.scene(1)
    assert scene.recording_token == tables["scene"][0]["token"]
    images = {row["token"]: row for row in tables["sample_data"]}
    for camera_record in scene.cameras:
        rows = [images[token] for token in camera_record.image_tokens]
        assert all(f"/{camera_record.name}/" in row["filename"] for row in rows)
        assert camera_record.image_times_us.tolist() == [row["timestamp"] for row in rows]
    first_us = scene.cameras[0].image_times_us
    np.testing.assert_allclose((first_us - first_us[0]) / 1e6, scene.timestamps, atol=1e-9)
    assert [source.files(scene)[t].name for t in range(5)] == [
        Path(images[t]["filename"]).name for t in scene.cameras[0].image_tokens
    ]
    annotations = {(row["instance_token"], row["sample_token"]): row for row in tables["sample_annotation"]}
    names = {row["token"]: row["name"] for row in tables["attribute"]}
    num_known = 0
    for track in scene.tracks:
        for t, token in enumerate(scene.cameras[0].image_tokens):
            row = annotations.get((track.id, images[token]["sample_token"]))
            if images[token]["is_key_frame"] and row:
                num_known += 1
                assert track.lidar_points[t] == row["num_lidar_pts"]
                assert [track.attributes[t]] == [names[token] for token in row["attribute_tokens"]] or [""]
            else:
                assert track.lidar_points[t] == -1
    assert num_known >= 2 and any("vehicle." in name for track in scene.tracks for name in track.attributes)


def test_tables_without_lidar_points_and_attributes_are_read(tmp_path: Path) -> None:
    def strip(rows: list[dict[str, object]]) -> None:
        for row in rows:
            row["num_lidar_pts"] = None
            row["attribute_tokens"] = ["gone"]

    world = write_world(tmp_path)
    edit_table(world, "sample_annotation", strip)
    (scene,) = NuScenesSource(world, VERSION, None).scenes()
    assert all((track.lidar_points == -1).all() and not any(track.attributes) for track in scene.tracks)


def test_key_frames_only(world: Path) -> None:
    (scene,) = NuScenesSource(world, VERSION, None, sweeps=False).scenes()
    assert np.allclose(scene.timestamps, [0, 0.5, 1.0])
    assert by_category(scene)["human.pedestrian.adult"].present.tolist() == [False, False, True]


def test_extrinsics_of_a_camera_that_fires_later_include_ego_motion(tmp_path: Path) -> None:
    front, late = camera("CAM_FRONT", 0.0), camera("CAM_BACK", np.pi, moving=True)
    written = small_scene(cameras=(front, late))
    root = write_world(tmp_path, written)
    scene = NuScenesSource(root, VERSION, None, cameras=("CAM_FRONT", "CAM_BACK")).scenes()[0]
    assert scene.camera("CAM_FRONT").camera_to_ego.shape == (4, 4)
    actual = scene.camera_to_world(scene.camera("CAM_BACK"))
    assert np.allclose(actual, written.camera_to_world(late), atol=1e-6)
    framed = NuScenesSource(root, VERSION, SMALL, cameras=("CAM_FRONT", "CAM_BACK")).scenes()[1]
    assert np.allclose(framed.camera_to_world(framed.camera("CAM_BACK")), actual[3:8], atol=1e-9)


def test_a_recording_is_cut_into_clips(world: Path) -> None:
    source = NuScenesSource(world, VERSION, SMALL)
    scenes = source.scenes()
    assert len(source) == len(scenes) == 3
    assert [scene.clip_id for scene in scenes] == ["sim-0001-000", "sim-0001-001", "sim-0001-002"]
    assert [scene.clip_id for scene in scenes[1:]] == ["sim-0001-001", "sim-0001-002"]
    assert all(scene.timestamps[0] == 0 and scene.num_frames == 5 for scene in scenes)
    clip = source.load(scenes[1])
    assert clip.frames.shape == (1, 5, 32, 56, 3)
    blue = clip.frames[0, :, 16, 28, 2].astype(int)
    assert np.abs(blue - (20 + 10 * np.arange(3, 8))).max() <= 4
    assert np.allclose(scenes[1].ego_to_world, small_scene().ego_to_world[3:8], atol=1e-6)


def test_an_edited_scene_keeps_its_edit(world: Path) -> None:
    source = NuScenesSource(world, VERSION, SMALL)
    edited = source.load(source.scenes()[0]).with_scene(domain="driving-dusk").scene
    assert source.load(edited).scene.domain == "driving-dusk"


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.sampled_from([(32, 56), (64, 64), (50, 112), (90, 160), (24, 80)]),
    ahead=st.floats(6, 20),
    left=st.floats(-0.12, 0.12),
    up=st.floats(-0.1, 0.1),
)
def test_image_points_match_their_projection(
    tmp_path_factory: pytest.TempPathFactory, size: tuple[int, int], ahead: float, left: float, up: float
) -> None:
    """The center of a dot, drawn at the projection of a world point, is at the new projection after resizing."""
    scene = small_scene()
    world_to_camera = inverse(scene.camera_to_world(scene.cameras[0]))
    point = transform(scene.ego_to_world[0], np.array([[1.2 + ahead, 0.1 + left * ahead, 1.5 + up * ahead]]))

    def dotted(view: int, t: int) -> NDArray[np.uint8]:
        pixels, _ = project(transform(world_to_camera[t], point), scene.cameras[0].intrinsics)
        v, u = np.meshgrid(np.arange(HEIGHT), np.arange(WIDTH), indexing="ij")
        bell = 200 * np.exp(-((u - pixels[0, 0]) ** 2 + (v - pixels[0, 1]) ** 2) / (2 * 2.0**2))
        return np.repeat(bell[..., None], 3, -1).astype(np.uint8)

    root = tmp_path_factory.mktemp("dot")
    with NuScenesWriter(root, VERSION) as writer:
        writer.add_recording(scene, dotted)
    framing = make_framing(height=size[0], width=size[1], frame_rate=10, num_frames=1, stride=20)
    source = NuScenesSource(root, VERSION, framing)
    read = source.scenes()[0]
    picture = source.load(read).frames[0, 0, ..., 0].astype(float)
    expected, _ = project(
        transform(inverse(read.camera_to_world(read.cameras[0]))[0], point), read.cameras[0].intrinsics
    )
    picture[picture < 20] = 0
    v, u = np.meshgrid(np.arange(size[0]), np.arange(size[1]), indexing="ij")
    center = np.array([(u * picture).sum(), (v * picture).sum()]) / picture.sum()
    assert np.abs(center - expected[0]).max() < 0.25


@pytest.mark.parametrize(
    ("description", "domain"),
    [
        ("Night, big street", "driving-dusk"),
        ("Night, after rain", "driving-dusk"),
        ("Rain, parked cars", "driving-rain"),
        ("Train station, drain", "driving-day"),
    ],
)
def test_the_domain_is_inferred_from_the_description(tmp_path: Path, description: str, domain: str) -> None:
    root = write_world(tmp_path)
    edit_table(root, "scene", lambda rows: rows[0].update(description=description))
    assert NuScenesSource(root, VERSION, None).scenes()[0].domain == domain


@pytest.mark.parametrize("domain", ["driving-day", "driving-dusk", "driving-rain"])
def test_the_domain_survives_the_tables(tmp_path: Path, domain: str) -> None:
    root = write_world(tmp_path, small_scene(domain=domain))
    assert NuScenesSource(root, VERSION, None).scenes()[0].domain == domain


def test_splits(tmp_path: Path) -> None:
    scenes = (small_scene("scene-0061"), small_scene("scene-0103"), small_scene("sim-1", split="held_out"))
    root = write_world(tmp_path, *scenes)
    splits = {scene.clip_id: scene.split for scene in NuScenesSource(root, VERSION, None).scenes()}
    assert splits == {"scene-0061-000": "mini_train", "scene-0103-000": "mini_val", "sim-1-000": "held_out"}
    (val,) = NuScenesSource(root, VERSION, None, split="val").scenes()
    assert (val.clip_id, val.split) == ("scene-0103-000", "val")
    assert [scene.clip_id for scene in NuScenesSource(root, VERSION, None, split="held_out").scenes()] == ["sim-1-000"]


def test_a_short_scene_is_padded_at_constant_velocity(world: Path) -> None:
    truth = small_scene()  # its velocity and turn rate are constant, so its continuation is known
    framing = make_framing(height=HEIGHT, width=WIDTH, frame_rate=10, num_frames=16, stride=16)
    source = NuScenesSource(world, VERSION, framing, pad_short_scenes=True)
    (scene,) = source.scenes()
    assert (scene.num_frames, scene.held_frames) == (16, 5)
    assert np.allclose(np.diff(scene.timestamps), 0.1, atol=1e-6)
    step = inverse(truth.ego_to_world[0]) @ truth.ego_to_world[1]
    for t in range(11, 16):
        assert np.allclose(inverse(scene.ego_to_world[t - 1]) @ scene.ego_to_world[t], step, atol=1e-6)
    truck, last = by_category(scene)["vehicle.truck"], by_category(truth)["vehicle.truck"].box_to_world[10]
    assert truck.present.all() and (truck.lidar_points[11:] == -1).all() and not any(truck.attributes[11:])
    times, tokens = scene.cameras[0].image_times_us, scene.cameras[0].image_tokens
    assert np.diff(times)[10:].tolist() == [100_000] * 5 and tokens[11:] == ("",) * 5 and all(tokens[:11])
    assert np.allclose(truck.box_to_world[15, :3, 3], last[:3, 3] + 0.5 * np.array([8.0, 0, 0]), atol=1e-5)
    assert np.isclose(yaw_from_pose(truck.box_to_world[15]), yaw_from_pose(last) + 0.5 * 0.4, atol=1e-5)
    frames = source.load(scene).frames[0]
    assert (frames[11:] == frames[10]).all() and (frames[10] != frames[9]).any()


def test_a_short_scene_is_skipped_if_others_are_long_enough(tmp_path: Path) -> None:
    scene = small_scene("sim-0002", tracks=())
    short = Scene(
        clip_id="sim-0003",
        domain=scene.domain,
        timestamps=scene.timestamps[:3],
        ego_to_world=scene.ego_to_world[:3],
        cameras=scene.cameras,
    )
    root = write_world(tmp_path, scene, short)
    framing = make_framing(height=32, width=56, num_frames=8, stride=8)
    source = NuScenesSource(root, VERSION, framing)
    assert [s.clip_id for s in source.scenes()] == ["sim-0002-000"]
    (line,) = source.skipped
    assert line.startswith("1 of 2 scenes yield no clip, the first: scene sim-0003 has 3 frames")
    both = NuScenesSource(root, VERSION, framing, pad_short_scenes=True).scenes()
    assert [(s.clip_id, s.held_frames) for s in both] == [("sim-0002-000", 0), ("sim-0003-000", 5)]


@pytest.mark.real
def test_six_real_cameras() -> None:
    names = ("CAM_FRONT", "CAM_FRONT_LEFT", "CAM_FRONT_RIGHT", "CAM_BACK_LEFT", "CAM_BACK_RIGHT", "CAM_BACK")
    root = real_data() / "nuscenes_format" / "tri_six_cameras"
    source = NuScenesSource(root, VERSION, make_framing(), cameras=names, pad_short_scenes=True)
    (scene,) = source.scenes()
    assert (scene.num_frames, scene.held_frames, len(scene.cameras)) == (17, 14, 6)
    speed = np.linalg.norm(np.diff(scene.ego_to_world[:, :3, 3], axis=0), axis=1) / np.diff(scene.timestamps)
    assert np.allclose(speed, 12.7, atol=0.3)
    clip = source.load(scene)
    assert clip.frames.shape == (6, 17, 96, 160, 3)
    assert all(40 < view[0].mean() < 200 for view in clip.frames)
    front = scene.cameras[0]
    world_to_front = inverse(scene.camera_to_world(front))
    cars = [track for track in scene.tracks if track.category == "vehicle.car" and track.present[0]]
    corners = [
        project(transform(world_to_front[0], box_corners(car.box_to_world[0], car.size)), front.intrinsics)
        for car in cars
    ]
    seen = [
        pixels for pixels, depth in corners if (depth > 0).all() and (pixels > 0).all() and (pixels < (160, 96)).all()
    ]
    assert seen


@pytest.mark.real
def test_real_key_frames_and_sweeps() -> None:
    root = real_data() / "noncommercial" / "kitti_straight" / "nuscenes_format"
    source = NuScenesSource(root, VERSION, None)
    (scene,) = source.scenes()
    assert scene.num_frames == 51 and np.allclose(np.diff(scene.timestamps), 0.1, atol=1e-5)
    assert len(NuScenesSource(root, VERSION, None, sweeps=False).scenes()[0].timestamps) == 11
    clips = NuScenesSource(root, VERSION, make_framing(height=256, width=448))
    assert [s.clip_id for s in clips.scenes()] == ["scene-9001-000", "scene-9001-001", "scene-9001-002"]
    frames = clips.load(clips.scenes()[2]).frames
    assert frames.shape == (1, 17, 256, 448, 3) and frames.std() > 20
    path = np.linalg.norm(np.diff(scene.ego_to_world[:, :3, 3], axis=0), axis=1).sum()
    assert np.isclose(path, 59.9, atol=0.5)
