"""Errors in nuScenes data are reported in one line that names the table, token or file."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from driveforge.datasets.errors import UserError
from driveforge.datasets.framing import Framing
from driveforge.datasets.nuscenes.source import NuScenesSource
from tests.datasets.nuscenes.world import VERSION, Rows, edit_table, real_data, small_scene, write_world
from tests.defaults import make_framing


@pytest.fixture
def world(tmp_path: Path) -> Path:
    return write_world(tmp_path / "world")


def refused(root: Path, version: str = VERSION, framing: Framing | None = None, **options: Any) -> str:
    with pytest.raises(UserError) as raised:
        source = NuScenesSource(root, version, framing, **options)
        source.load(source.scenes()[0])
    message = str(raised.value)
    assert "\n" not in message
    return message


def test_missing_root_and_version(world: Path) -> None:
    assert refused(world / "nowhere") == f"nuScenes dataroot {world / 'nowhere'} is not a folder"
    assert refused(world, "v1.0-trainval") == f"{world} has no version 'v1.0-trainval'; it has v1.0-mini"


@pytest.mark.parametrize("table", ["attribute", "ego_pose", "map", "sample_data", "visibility"])
def test_missing_table(world: Path, table: str) -> None:
    (world / VERSION / f"{table}.json").unlink()
    assert refused(world) == f"nuScenes table {world / VERSION / table}.json is missing"


def test_table_that_is_not_json(world: Path) -> None:
    path = world / VERSION / "sample.json"
    path.write_text(path.read_text()[:100])
    assert refused(world).startswith(f"nuScenes table {path}: is not valid JSON: ")
    path.write_text('{"token": 1}')
    assert refused(world) == f"nuScenes table {path} must be a list of records"
    path.write_bytes(b"\xff\xfe[]")
    assert str(path) in refused(world)


def with_value(field: str, value: Any) -> Callable[[Rows], None]:
    return lambda rows: rows[0].update({field: value})


NAN = float("nan")


@pytest.mark.parametrize(
    ("table", "change", "reason"),
    [
        ("ego_pose", with_value("translation", [NAN, 0.0, 0.0]), "translation holds NaN or infinite values"),
        ("ego_pose", with_value("rotation", [1.0, NAN, 0.0, 0.0]), "rotation holds NaN or infinite values"),
        ("ego_pose", with_value("rotation", [0.0, 0.0, 0.0, 0.0]), "is not a unit quaternion"),
        ("ego_pose", with_value("translation", [1.0, 2.0]), "translation must be 3 numbers"),
        ("calibrated_sensor", with_value("rotation", [NAN] * 4), "rotation holds NaN"),
        (
            "calibrated_sensor",
            with_value("camera_intrinsic", [[NAN, 0, 1], [0, 1, 1], [0, 0, 1]]),
            "intrinsics holds NaN",
        ),
        ("calibrated_sensor", with_value("camera_intrinsic", []), "camera_intrinsic of CAM_FRONT must be 3 rows"),
        ("calibrated_sensor", with_value("camera_intrinsic", [["a"] * 3] * 3), "camera_intrinsic"),
        ("sample_annotation", with_value("translation", [0.0, NAN, 0.0]), "translation holds NaN"),
        ("sample_annotation", with_value("size", [1.0, 0.0, 1.0]), "must be positive"),
        ("sample_data", lambda rows: rows[0].pop("height"), "needs a width and height in pixels, got 112 and None"),
        ("sample_data", lambda rows: rows[0].pop("timestamp"), "has no 'timestamp'"),
        ("sample_data", lambda rows: rows[1].update(timestamp=rows[0]["timestamp"]), "has the same timestamp"),
        ("sample_data", with_value("timestamp", "noon"), "timestamp must be whole microseconds, got noon"),
        ("sample", lambda rows: rows[0].pop("scene_token"), "has no 'scene_token'"),
        ("map", with_value("filename", "maps/gone.png"), "the map mask maps/gone.png is missing"),
    ],
)
def test_bad_row_is_named_by_table_and_token(
    world: Path, table: str, change: Callable[[Rows], Any], reason: str
) -> None:
    tokens: list[str] = []
    edit_table(world, table, lambda rows: (tokens.extend(row["token"] for row in rows[:2]), change(rows)))
    message = refused(world)
    assert reason in message and f"{table}.json" in message and any(token in message for token in tokens)


@pytest.mark.parametrize(
    ("table", "field", "target"),
    [
        ("sample_data", "ego_pose_token", "ego_pose"),
        ("sample_data", "sample_token", "sample"),
        ("sample_annotation", "instance_token", "instance"),
        ("scene", "log_token", "log"),
        ("calibrated_sensor", "sensor_token", "sensor"),
    ],
)
def test_dangling_token(world: Path, table: str, field: str, target: str) -> None:
    edit_table(world, table, lambda rows: rows[0].update({field: "beef"}))
    assert f"{target}.json has no token 'beef'" in refused(world)


def test_log_without_a_map(world: Path) -> None:
    edit_table(world, "map", lambda rows: rows[0].update(log_tokens=[]))
    assert re.search(r"map\.json: no row has the log [0-9a-f]{32} of log\.json", refused(world))
    edit_table(world, "map", list.clear)
    assert "map.json" in refused(world)


def front_image(root: Path) -> Path:
    return sorted((root / "samples" / "CAM_FRONT").iterdir())[0]


def test_missing_and_unreadable_images(world: Path) -> None:
    path = front_image(world)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert re.fullmatch(
        rf"image {path} cannot be read \(sample_data token [0-9a-f]{{32}}\): .*truncated.*", refused(world)
    )
    path.write_bytes(b"not a picture")
    assert f"image {path} cannot be read" in refused(world)
    path.unlink()
    assert re.fullmatch(rf"image {path} is missing \(sample_data token [0-9a-f]{{32}}\)", refused(world))


def test_image_of_another_size(world: Path) -> None:
    edit_table(world, "sample_data", lambda rows: [row.update(width=200) for row in rows])
    assert "is 112x64, but sample_data token" in refused(world)


def test_cameras_of_different_sizes_need_a_framing(world: Path) -> None:
    for path in (world / "samples" / "CAM_BACK", world / "sweeps" / "CAM_BACK"):
        for image in path.iterdir():
            Image.open(image).resize((200, 64)).save(image)
    edit_table(world, "sample_data", lambda rows: [r.update(width=200) for r in rows if "CAM_BACK" in r["filename"]])
    cameras = ("CAM_FRONT", "CAM_BACK")
    assert "must have the same image size (CAM_FRONT 112x64, CAM_BACK 200x64); set a framing" in refused(
        world, cameras=cameras
    )
    source = NuScenesSource(world, VERSION, make_framing(height=32, width=56, num_frames=5, stride=5), cameras=cameras)
    assert source.load(source.scenes()[0]).frames.shape == (2, 5, 32, 56, 3)


def test_scenes_of_one_name(tmp_path: Path) -> None:
    root = write_world(tmp_path, small_scene("sim-0001"), small_scene("sim-0002"))
    edit_table(root, "scene", lambda rows: rows[1].update(name="sim-0001"))
    assert refused(root) == f"{root / VERSION / 'scene.json'}: two scenes have the same name"


def test_the_error_of_an_unknown_camera_lists_the_cameras(world: Path) -> None:
    message = refused(world, cameras=("CAM_FRONT", "CAM_ROOF"))
    assert message.endswith("sensor.json has no camera channel 'CAM_ROOF'; it has CAM_BACK, CAM_FRONT")
    assert "no camera channel 'LIDAR_TOP'" in refused(world, cameras=("LIDAR_TOP",))
    assert "one or more different channels" in refused(world, cameras=())


def test_scene_without_images_of_a_camera(world: Path) -> None:
    def drop_back(rows: Rows) -> None:
        rows[:] = [row for row in rows if "CAM_BACK" not in row["filename"]]

    edit_table(world, "sample_data", drop_back)
    message = refused(world, cameras=("CAM_FRONT", "CAM_BACK"))
    assert message.startswith("sim-0001 ") and message.endswith("has no images of CAM_BACK; it has CAM_FRONT")


def test_splits(world: Path) -> None:
    assert refused(world, split="vall").startswith(
        "unknown split 'vall'; choose from all, train, val, test, mini_train"
    )
    assert "split 'val' selects no scene of" in refused(world, split="val")
    (world / VERSION / "splits.json").write_text("{")
    assert "splits.json: is not valid JSON" in refused(world)
    (world / VERSION / "splits.json").write_text("[1]")
    assert refused(world).endswith("it must map names of splits to lists of scene names")


def test_scene_too_short(world: Path) -> None:
    message = refused(world, framing=make_framing())
    assert message.startswith("scene sim-0001 has 11 frames (1.0 s), clips need 17 at 10 Hz: lower data.num_frames")
    assert message.endswith("or pad short scenes with data.pad_short_scenes=true")
    assert "has 3 frames" in refused(world, framing=make_framing(num_frames=4), sweeps=False)


def test_invalid_lane_file(world: Path) -> None:
    path = world / "maps" / "lanes" / "sim-0001.json"
    path.write_text('[{"kind": "curb", "points": [[0, 0, 0]]}]')
    assert refused(world).startswith(f"{path}: lane kind 'curb'")


def test_clip_of_another_source(world: Path, tmp_path: Path) -> None:
    other = write_world(tmp_path / "other")
    framing = make_framing(height=32, width=56, num_frames=5, stride=5)
    scene = NuScenesSource(other, VERSION, None).scenes()[0]
    source = NuScenesSource(world, VERSION, framing, cameras=("CAM_BACK",))
    with pytest.raises(UserError, match="has no clip 'sim-0001-000'"):
        source.load(scene)


@pytest.mark.real
def test_one_real_sample_is_too_short() -> None:
    root = real_data() / "noncommercial" / "nuscenes_one_sample"
    for pad_short_scenes in (False, True):
        message = refused(root, framing=make_framing(), pad_short_scenes=pad_short_scenes)
        assert message.startswith("scene scene-0061 has 1 frame (0.0 s), clips need 17")
    (scene,) = NuScenesSource(root, VERSION, None).scenes()
    assert scene.split == "mini_train" and len(scene.tracks) == 68
