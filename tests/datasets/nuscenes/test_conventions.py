"""nuScenes tables from other recorders and converters are read correctly or refused with a one-line error."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.nuscenes.source import NuScenesSource
from tests.datasets.nuscenes.world import (
    NUM_FRAMES,
    RATE,
    VERSION,
    Rows,
    edit_table,
    read_error,
    read_scenes,
    small_scene,
    write_world,
)
from tests.defaults import make_framing

BOTH = ("CAM_FRONT", "CAM_BACK")
SHORT = make_framing(height=32, width=56, num_frames=5, stride=5)


@pytest.fixture
def world(tmp_path: Path) -> Path:
    return write_world(tmp_path / "world")


def of_channel(rows: Rows, channel: str) -> Rows:
    return sorted((row for row in rows if f"/{channel}/" in row["filename"]), key=lambda row: row["timestamp"])


@pytest.mark.parametrize("names", ["nearest", "before"])
def test_boxes_do_not_depend_on_the_sample_of_a_sweep(world: Path, names: str) -> None:
    expected = read_scenes(world)[0]

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
    actual = read_scenes(world)[0]
    assert [t.category for t in actual.tracks] == [t.category for t in expected.tracks]
    for a, b in zip(actual.tracks, expected.tracks, strict=True):
        np.testing.assert_array_equal(a.present, b.present)
        np.testing.assert_array_equal(a.box_to_world[a.present], b.box_to_world[b.present])


def test_boxes_do_not_depend_on_links_between_rows(world: Path) -> None:
    expected = read_scenes(world)[0]
    for table in ("sample", "sample_data", "sample_annotation"):
        edit_table(world, table, lambda rows: [row.update(prev=row["token"], next=row["token"]) for row in rows])
    edit_table(world, "sample", lambda rows: [row.update(prev=rows[-1]["token"]) for row in rows])
    for a, b in zip(read_scenes(world)[0].tracks, expected.tracks, strict=True):
        np.testing.assert_array_equal(a.box_to_world[a.present], b.box_to_world[b.present])


def drop(frames: Callable[[int], bool], channel: str = "CAM_BACK") -> Callable[[Rows], None]:
    """Remove the images of a channel whose frame number satisfies ``frames``."""

    def change(rows: Rows) -> None:
        removed = {row["token"] for n, row in enumerate(of_channel(rows, channel)) if frames(n)}
        rows[:] = [row for row in rows if row["token"] not in removed]

    return change


@pytest.mark.parametrize(
    ("frames", "starts"),
    [
        (lambda n: n > 5, [0.0]),  # stops
        (lambda n: n == 3, [0.4]),  # drops one sweep: the clip after it is complete
        (lambda n: n < 5, [0.5]),  # starts late
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
    for scene in source.scenes():  # extrinsics do not compensate for an image of another time
        mounts = np.reshape(scene.camera("CAM_BACK").camera_to_ego, (-1, 4, 4))
        np.testing.assert_allclose(mounts, np.broadcast_to(mounts[0], mounts.shape), atol=1e-9)
    message = read_error(world, None, cameras=BOTH)
    assert "sim-0001: no image of CAM_BACK at 0." in message


def test_the_error_names_the_gap_if_no_window_is_complete(world: Path) -> None:
    edit_table(world, "sample_data", drop(lambda n: n not in (0, 5, 10)))
    assert "no image of CAM_BACK at 0.1 s: lower data.num_frames" in read_error(world, SHORT, cameras=BOTH)
    edit_table(world, "sample_data", drop(lambda n: n in (2, 3, 6, 7), "CAM_FRONT"))
    message = read_error(world, SHORT)
    assert "has 7 frames (1.0 s), clips need 5 at 10 Hz without a gap" in message
    assert "there is no image for 0.3 s after 0.1 s" in message


def test_a_single_frame_cannot_be_used(world: Path) -> None:
    edit_table(world, "sample_data", drop(lambda n: n > 0, "CAM_FRONT"))
    message = read_error(world, SHORT, pad_short_scenes=True)
    assert message.startswith("scene sim-0001 has 1 frame (0.0 s)") and message.endswith(
        "it cannot be used with any settings"
    )


def new_calibration(world: Path, **changes: Any) -> None:
    """Give the images of the front camera, from the seventh, another calibration with ``changes``."""
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
def test_recordings_are_split_where_the_calibration_changes(world: Path, changes: dict[str, Any]) -> None:
    new_calibration(world, **changes)
    first, second = read_scenes(world, SHORT)
    whole_first, whole_second = read_scenes(world)
    assert (whole_first.num_frames, whole_second.num_frames) == (6, 5)
    assert [first.clip_id, second.clip_id] == ["sim-0001-000", "sim-0001-001"]
    a, b = first.cameras[0], second.cameras[0]
    assert np.allclose(a.intrinsics, b.intrinsics) == ("translation" in changes)
    assert np.allclose(a.camera_to_ego, b.camera_to_ego) == ("camera_intrinsic" in changes)
    assert "has 6 frames (0.5 s) until its calibration changes" in read_error(world, make_framing())


def test_recordings_are_not_split_at_rows_of_equal_calibration(world: Path) -> None:
    new_calibration(world, translation=[1.2001, 0.1, 1.5])
    (scene,) = read_scenes(world)
    assert scene.num_frames == NUM_FRAMES
    mount = scene.cameras[0].camera_to_ego
    assert mount.shape == (NUM_FRAMES, 4, 4) and np.isclose(mount[-1, 0, 3], 1.2001) and mount[0, 0, 3] == 1.2


@pytest.mark.parametrize("scale", [10.0, 2.0, 0.5, 0.1])
def test_intrinsics_of_another_resolution_are_refused(world: Path, scale: float) -> None:
    matrix = (np.diag([scale, scale, 1]) @ [[90.0, 0, 55.5], [0, 90.0, 31.5], [0, 0, 1]]).tolist()
    edit_table(world, "calibrated_sensor", lambda rows: [row.update(camera_intrinsic=matrix) for row in rows])
    assert "are the intrinsics for another resolution?" in read_error(world, SHORT)


def test_an_off_center_crop_is_accepted(world: Path) -> None:
    matrix = [[90.0, 0, 20.0], [0, 90.0, 60.0], [0, 0, 1]]
    edit_table(world, "calibrated_sensor", lambda rows: [row.update(camera_intrinsic=matrix) for row in rows])
    assert read_scenes(world)[0].cameras[0].intrinsics[0, 2] == 20.0


@pytest.mark.parametrize("name", ["/etc/passwd", "../../secret.jpg", "samples/../../secret.jpg", "", "a\0b.jpg"])
def test_files_outside_the_root_are_refused(world: Path, name: str) -> None:
    edit_table(world, "sample_data", lambda rows: rows[0].update(filename=name))
    assert "sample_data.json: token " in read_error(world, SHORT) and "must be under the data root" in read_error(
        world, SHORT
    )
    edit_table(world, "sample_data", lambda rows: rows[0].update(filename="samples/a.jpg"))
    edit_table(world, "map", lambda rows: rows[0].update(filename=name))
    assert "map.json: token " in read_error(world, SHORT) and "must be under the data root" in read_error(world, SHORT)


def test_names_cannot_refer_to_lanes_outside_the_root(world: Path) -> None:
    (world / "secret.json").write_text("[1]")
    edit_table(world, "scene", lambda rows: rows[0].update(name="../../secret"))
    edit_table(world, "log", lambda rows: rows[0].update(location="../../secret"))
    assert read_scenes(world)[0].lanes == ()


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
def test_a_field_of_another_type_is_refused(world: Path, table: str, field: str, value: Any) -> None:
    edit_table(world, table, lambda rows: rows[0].update({field: value}))
    assert f"{table}.json" in read_error(world, SHORT)


def test_duplicate_rows_are_refused(world: Path) -> None:
    edit_table(world, "sample_annotation", lambda rows: rows.append({**rows[0], "token": "a" * 32}))
    assert "is annotated twice in sample" in read_error(world, SHORT)
    edit_table(world, "sample_annotation", lambda rows: rows.append(rows[0]))
    assert "sample_annotation.json: token " in read_error(world, SHORT) and "is duplicated" in read_error(world, SHORT)


def test_a_key_frame_far_from_its_sample_is_refused(world: Path) -> None:
    edit_table(world, "sample", lambda rows: rows[1].update(timestamp=rows[1]["timestamp"] + 3_000_000))
    assert "a key frame must be taken at the time of its sample" in read_error(world, SHORT)


def test_an_image_too_large_to_decode_is_refused(world: Path) -> None:
    path = sorted((world / "samples" / "CAM_FRONT").iterdir())[0]
    content = bytearray(path.read_bytes())
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    source = NuScenesSource(world, VERSION, None)
    with pytest.raises(UserError, match="cannot be read"):
        source.load(source.scenes()[0])


def test_a_pose_that_jumps_is_named_by_its_token(world: Path) -> None:
    front: Rows = []
    edit_table(world, "sample_data", lambda rows: front.extend(of_channel(rows, "CAM_FRONT")))
    token = front[4]["ego_pose_token"]

    def jump(rows: Rows) -> None:
        (row,) = (row for row in rows if row["token"] == token)
        row["translation"][0] *= 10

    edit_table(world, "ego_pose", jump)
    message = read_error(world, SHORT)
    assert "ego_pose.json: token " in message and "the vehicle jumps by" in message and "in 0.10 s" in message
    assert token in message or front[5]["ego_pose_token"] in message
