"""nuScenes tables as other recorders and converters write them: read right, or refused in a line."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from driveforge.datasets.errors import MAX_LENGTH, UserError
from driveforge.datasets.framing import Framing
from driveforge.datasets.geometry import pose, yaw_rotation
from driveforge.datasets.nuscenes.source import NuScenesSource
from driveforge.datasets.scene import Scene
from tests.datasets.nuscenes.world import (
    NUM_FRAMES,
    RATE,
    VERSION,
    camera,
    edit_table,
    small_scene,
    track,
    write_world,
)
from tests.defaults import make_framing

Rows = list[dict[str, Any]]
BOTH = ("CAM_FRONT", "CAM_BACK")
SHORT = make_framing(height=32, width=56, num_frames=5, stride=5)


@pytest.fixture
def world(tmp_path: Path) -> Path:
    return write_world(tmp_path / "world")


def refused(root: Path, framing: Framing | None = SHORT, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        NuScenesSource(root, VERSION, framing, **options).scenes()[0]
    message = str(caught.value)
    assert "\n" not in message and len(message) <= MAX_LENGTH
    return message


def only(root: Path, framing: Framing | None = None, **options: Any) -> list[Scene]:
    return list(NuScenesSource(root, VERSION, framing, **options).scenes())


def of_channel(rows: Rows, channel: str) -> Rows:
    return sorted((row for row in rows if f"/{channel}/" in row["filename"]), key=lambda row: row["timestamp"])


@pytest.mark.parametrize("names", ["nearest", "before"])
def test_boxes_do_not_hang_on_which_sample_a_sweep_names(world: Path, names: str) -> None:
    wanted = only(world)[0]

    def tie(rows: Rows) -> None:
        front = of_channel(rows, "CAM_FRONT")
        keys = [row for row in front if row["is_key_frame"]]
        for row in front:
            if names == "before":
                near = max((key for key in keys if key["timestamp"] <= row["timestamp"]), key=lambda k: k["timestamp"])
            else:
                near = min(keys, key=lambda key: abs(key["timestamp"] - row["timestamp"]))
            row["sample_token"] = near["sample_token"]

    edit_table(world, "sample_data", tie)
    got = only(world)[0]
    assert [t.category for t in got.tracks] == [t.category for t in wanted.tracks]
    for a, b in zip(got.tracks, wanted.tracks, strict=True):
        np.testing.assert_array_equal(a.present, b.present)
        np.testing.assert_array_equal(a.box_to_world[a.present], b.box_to_world[b.present])


def test_boxes_do_not_hang_on_links_between_rows(world: Path) -> None:
    wanted = only(world)[0]
    for table in ("sample", "sample_data", "sample_annotation"):
        edit_table(world, table, lambda rows: [row.update(prev=row["token"], next=row["token"]) for row in rows])
    edit_table(world, "sample", lambda rows: [row.update(prev=rows[-1]["token"]) for row in rows])
    for a, b in zip(only(world)[0].tracks, wanted.tracks, strict=True):
        np.testing.assert_array_equal(a.box_to_world[a.present], b.box_to_world[b.present])


def drop(frames: Callable[[int], bool], channel: str = "CAM_BACK") -> Callable[[Rows], None]:
    """Takes away the images of a channel whose number ``frames`` says."""

    def change(rows: Rows) -> None:
        gone = {row["token"] for n, row in enumerate(of_channel(rows, channel)) if frames(n)}
        rows[:] = [row for row in rows if row["token"] not in gone]

    return change


@pytest.mark.parametrize(
    ("frames", "starts"),
    [
        (lambda n: n > 5, [0.0]),  # stops
        (lambda n: n == 3, [0.4]),  # loses one sweep: what begins behind it is whole
        (lambda n: n < 5, [0.5]),  # begins late
    ],
    ids=["stops", "drops", "starts-late"],
)
def test_no_clip_repeats_an_image_of_a_camera(world: Path, frames: Callable[[int], bool], starts: list[float]) -> None:
    edit_table(world, "sample_data", drop(frames))
    source = NuScenesSource(world, VERSION, SHORT, cameras=BOTH)
    path = small_scene().ego_to_world
    assert path is not None
    first = [abs(path - scene.ego_to_world[0]).sum((1, 2)).argmin() / RATE for scene in source.scenes()]
    np.testing.assert_allclose(first, starts)
    for scene in source.scenes():  # no mount slides to make up for an image of another time
        mounts = scene.camera("CAM_BACK").camera_to_ego.reshape(-1, 4, 4)
        np.testing.assert_allclose(mounts, np.broadcast_to(mounts[0], mounts.shape), atol=1e-9)
    message = refused(world, None, cameras=BOTH)
    assert "sim-0001: no image of CAM_BACK at 0." in message


def test_a_clip_that_no_window_gives_is_told_by_its_gap(world: Path) -> None:
    edit_table(world, "sample_data", drop(lambda n: n not in (0, 5, 10)))
    assert "no image of CAM_BACK at 0.1 s: lower data.num_frames" in refused(world, cameras=BOTH)
    edit_table(world, "sample_data", drop(lambda n: n in (2, 3, 6, 7), "CAM_FRONT"))
    message = refused(world)
    assert "has 7 frames (1.0 s), clips need 5 at 10 Hz without a gap" in message
    assert "there is no image for 0.3 s after 0.1 s" in message


def test_a_single_frame_is_told_that_nothing_helps(world: Path) -> None:
    edit_table(world, "sample_data", drop(lambda n: n > 0, "CAM_FRONT"))
    message = refused(world, pad_short_scenes=True)
    assert message.startswith("scene sim-0001 has 1 frame (0.0 s)") and message.endswith(
        "it cannot be used with any settings"
    )


def new_calibration(world: Path, **changes: Any) -> None:
    """The front camera's images from the seventh on name another calibration, which differs by ``changes``."""
    rows: Rows = []
    edit_table(world, "calibrated_sensor", lambda r: r.append({**r[0], "token": "f" * 32, **changes}) or rows.extend(r))
    edit_table(
        world,
        "sample_data",
        lambda r: [row.update(calibrated_sensor_token="f" * 32) for row in of_channel(r, "CAM_FRONT")[6:]],
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"camera_intrinsic": [[70.0, 0, 55.5], [0, 70.0, 31.5], [0, 0, 1]]},
        {"translation": [1.2, 0.1, 2.5]},
    ],
    ids=["focal-length", "mount"],
)
def test_clips_are_cut_where_the_calibration_changes(world: Path, changes: dict[str, Any]) -> None:
    new_calibration(world, **changes)
    first, second = only(world, SHORT)
    whole_first, whole_second = only(world)
    assert (whole_first.num_frames, whole_second.num_frames) == (6, 5)
    assert [first.clip_id, second.clip_id] == ["sim-0001-000", "sim-0001-001"]
    a, b = first.cameras[0], second.cameras[0]
    assert np.allclose(a.intrinsics, b.intrinsics) == ("translation" in changes)
    assert np.allclose(a.camera_to_ego, b.camera_to_ego) == ("camera_intrinsic" in changes)
    assert "has 6 frames (0.5 s) until its calibration changes" in refused(world, make_framing())


def test_a_row_for_every_image_of_one_calibration_cuts_nothing(world: Path) -> None:
    new_calibration(world, translation=[1.2001, 0.1, 1.5])
    (scene,) = only(world)
    assert scene.num_frames == NUM_FRAMES
    mount = scene.cameras[0].camera_to_ego
    assert mount.shape == (NUM_FRAMES, 4, 4) and np.isclose(mount[-1, 0, 3], 1.2001) and mount[0, 0, 3] == 1.2


@pytest.mark.parametrize("scale", [10.0, 2.0, 0.5, 0.1])
def test_intrinsics_of_another_resolution_are_refused(world: Path, scale: float) -> None:
    matrix = (np.diag([scale, scale, 1]) @ [[90.0, 0, 55.5], [0, 90.0, 31.5], [0, 0, 1]]).tolist()
    edit_table(world, "calibrated_sensor", lambda rows: [row.update(camera_intrinsic=matrix) for row in rows])
    assert "are the intrinsics for another resolution?" in refused(world)


def test_a_crop_off_the_center_is_no_other_resolution(world: Path) -> None:
    matrix = [[90.0, 0, 20.0], [0, 90.0, 60.0], [0, 0, 1]]
    edit_table(world, "calibrated_sensor", lambda rows: [row.update(camera_intrinsic=matrix) for row in rows])
    assert only(world)[0].cameras[0].intrinsics[0, 2] == 20.0


def driving(yaw: float, speed: float = 12.0) -> Scene:
    """Straight on towards ``yaw``, with three more cameras and a car that drives alongside."""
    along = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    seconds = np.arange(NUM_FRAMES)[:, None] / RATE
    car = track("car", "vehicle.car", (300 + 9 * along[0], 300 + 9 * along[1]), tuple(speed * along[:2]))
    car_poses = pose(yaw_rotation(np.full(NUM_FRAMES, yaw)), car.box_to_world[:, :3, 3])
    cameras = tuple(
        camera(name, np.radians(angle))
        for name, angle in (("CAM_FRONT", 0), ("CAM_FRONT_LEFT", 55), ("CAM_BACK", 180), ("CAM_BACK_RIGHT", -110))
    )
    car = type(car)(id=car.id, category=car.category, size=car.size, box_to_world=car_poses, present=car.present)
    ego = pose(yaw_rotation(np.full(NUM_FRAMES, yaw)), np.array([300.0, 300, 0]) + seconds * speed * along)
    return small_scene(ego_to_world=ego, tracks=(car,), lanes=(), cameras=cameras)


def reorder(root: Path, table: str, order: list[int]) -> None:
    edit_table(root, table, lambda rows: [row.update(rotation=[row["rotation"][n] for n in order]) for row in rows])


@pytest.mark.parametrize("yaw", [0.0, 0.4, 1.5, 3.0, -2.0])
def test_rotations_in_another_order_are_refused(tmp_path: Path, yaw: float) -> None:
    root = write_world(tmp_path / "ego", driving(yaw))
    assert len(only(root)) == 1
    reorder(root, "ego_pose", [1, 2, 3, 0])
    message = refused(root)
    assert "ego_pose.json: in every scene the vehicle" in message and "order w, x, y, z?" in message

    root = write_world(tmp_path / "cameras", driving(yaw))
    reorder(root, "calibrated_sensor", [1, 2, 3, 0])
    assert "calibrated_sensor.json: most cameras" in refused(root)

    root = write_world(tmp_path / "boxes", driving(yaw))
    reorder(root, "sample_annotation", [1, 2, 3, 0])
    assert "sample_annotation.json: " in refused(root) and "order w, x, y, z?" in refused(root)


@pytest.mark.parametrize("channel", ["CAM_FRONT_LEFT", "CAM_BACK", "CAM_BACK_RIGHT"])
def test_a_single_camera_in_another_order_is_refused_by_its_token(tmp_path: Path, channel: str) -> None:
    scene = driving(0.3)
    scene = small_scene(
        ego_to_world=scene.ego_to_world,
        tracks=(),
        lanes=(),
        cameras=tuple(camera for camera in scene.cameras if camera.name == channel),
    )
    root = write_world(tmp_path, scene)
    assert len(only(root, cameras=(channel,))) == 1
    reorder(root, "calibrated_sensor", [1, 2, 3, 0])
    names = ("sensor", "calibrated_sensor")
    sensors, mounts = (json.loads((root / VERSION / f"{name}.json").read_text()) for name in names)
    (sensor,) = (row["token"] for row in sensors if row["channel"] == channel)
    (row,) = (row for row in mounts if row["sensor_token"] == sensor)
    message = refused(root, cameras=(channel,))
    assert f"calibrated_sensor.json: token {row['token']}: {channel} " in message
    assert "into the " in message or "is rolled by 180 degrees" in message
    assert "order w, x, y, z?" in message


@pytest.mark.parametrize(("pitch", "roll", "told"), [(40, 0, ""), (-44, 30, ""), (50, 0, "sky"), (-60, 5, "ground")])
def test_cameras_look_roughly_level(tmp_path: Path, pitch: float, roll: float, told: str) -> None:
    up, around = np.radians([pitch, roll])
    tilt = np.array([[1, 0, 0], [0, np.cos(up), -np.sin(up)], [0, np.sin(up), np.cos(up)]])
    twist = np.array([[np.cos(around), -np.sin(around), 0], [np.sin(around), np.cos(around), 0], [0, 0, 1]])
    level = camera("CAM_FRONT", 0.2)
    assert level.camera_to_ego is not None
    tilted = replace(level, camera_to_ego=level.camera_to_ego @ pose(tilt @ twist, np.zeros(3)))
    root = write_world(tmp_path, small_scene(tracks=(), lanes=(), cameras=(tilted,)))
    if told:
        assert f"CAM_FRONT looks {abs(pitch)} degrees into the {told}" in refused(root)
    else:
        assert len(only(root)) == 1


def test_one_scene_that_backs_up_among_others_is_driving(tmp_path: Path) -> None:
    ahead = driving(0.3)
    back = small_scene(
        "sim-0002", ego_to_world=ahead.ego_to_world[::-1].copy(), tracks=(), lanes=(), cameras=ahead.cameras
    )
    assert len(only(write_world(tmp_path, ahead, back))) == 2


def test_a_car_that_stands_is_driving_nowhere(tmp_path: Path) -> None:
    assert len(only(write_world(tmp_path, driving(1.0, speed=0.0)))) == 1


@pytest.mark.parametrize("name", ["/etc/passwd", "../../secret.jpg", "samples/../../secret.jpg", "", "a\0b.jpg"])
def test_files_outside_the_root_are_refused(world: Path, name: str) -> None:
    edit_table(world, "sample_data", lambda rows: rows[0].update(filename=name))
    assert "sample_data.json: token " in refused(world) and "must be under the data root" in refused(world)
    edit_table(world, "sample_data", lambda rows: rows[0].update(filename="samples/a.jpg"))
    edit_table(world, "map", lambda rows: rows[0].update(filename=name))
    assert "map.json: token " in refused(world) and "must be under the data root" in refused(world)


def test_names_lead_to_no_lanes_outside_the_root(world: Path) -> None:
    (world / "secret.json").write_text("[1]")
    edit_table(world, "scene", lambda rows: rows[0].update(name="../../secret"))
    edit_table(world, "log", lambda rows: rows[0].update(location="../../secret"))
    assert only(world)[0].lanes == ()


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("table", "field"),
    [
        ("sample_data", "token"), ("sample_data", "sample_token"), ("sample_data", "filename"),
        ("sample_data", "is_key_frame"), ("sample_data", "timestamp"), ("sample", "scene_token"),
        ("sample_annotation", "instance_token"), ("sample_annotation", "size"), ("ego_pose", "rotation"),
        ("calibrated_sensor", "camera_intrinsic"), ("calibrated_sensor", "sensor_token"), ("sensor", "channel"),
        ("instance", "category_token"), ("category", "name"), ("log", "location"), ("scene", "name"),
        ("scene", "description"), ("map", "filename"), ("map", "log_tokens"), ("attribute", "token"),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "value",
    [None, ["a"], {"a": 1}, 3.5, -(10**400), float("inf"), nested(300), "\ud800"],
    ids=["null", "list", "object", "fraction", "huge", "infinite", "deep", "half-a-character"],
)
def test_a_field_of_another_type_is_told(world: Path, table: str, field: str, value: Any) -> None:
    edit_table(world, table, lambda rows: rows[0].update({field: value}))
    assert f"{table}.json" in refused(world)


def test_rows_that_are_there_twice_are_told(world: Path) -> None:
    edit_table(world, "sample_annotation", lambda rows: rows.append({**rows[0], "token": "a" * 32}))
    assert "is annotated twice in sample" in refused(world)
    edit_table(world, "sample_annotation", lambda rows: rows.append(rows[0]))
    assert "sample_annotation.json: token " in refused(world) and "is duplicated" in refused(world)


def test_a_key_frame_far_from_its_sample_is_told(world: Path) -> None:
    edit_table(world, "sample", lambda rows: rows[1].update(timestamp=rows[1]["timestamp"] + 3_000_000))
    assert "a key frame must be taken at the time of its sample" in refused(world)


def test_an_image_too_large_to_decode_is_told(world: Path) -> None:
    path = sorted((world / "samples" / "CAM_FRONT").iterdir())[0]
    content = bytearray(path.read_bytes())
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    source = NuScenesSource(world, VERSION, None)
    with pytest.raises(UserError, match="cannot be read"):
        source.load(source.scenes()[0])


def test_a_pose_that_jumps_is_told_by_its_token(world: Path) -> None:
    front: Rows = []
    edit_table(world, "sample_data", lambda rows: front.extend(of_channel(rows, "CAM_FRONT")))
    token = front[4]["ego_pose_token"]

    def jump(rows: Rows) -> None:
        (row,) = (row for row in rows if row["token"] == token)
        row["translation"][0] *= 10

    edit_table(world, "ego_pose", jump)
    message = refused(world)
    assert "ego_pose.json: token " in message and "the vehicle jumps by" in message and "in 0.10 s" in message
    assert token in message or front[5]["ego_pose_token"] in message
