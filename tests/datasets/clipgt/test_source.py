"""ClipGT folders of other tools as scenes, and their errors."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from driveforge.datasets.clipgt.source import ClipGtSource, list_items
from driveforge.datasets.clipgt.writer import write_clipgt
from driveforge.datasets.errors import UserError
from driveforge.datasets.framing import Framing
from driveforge.datasets.video import decode_mp4, encode_mp4
from tests.datasets.clipgt.clips import change_rows, point, write_foreign_clip
from tests.datasets.small_clips import small_clip

FRAMING = Framing(height=48, width=80, frame_rate=10.0, num_frames=9, stride=9)
CLIP = "1ea7dc88-88ed"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_foreign_clip(tmp_path / "scene")


def test_a_foreign_clip_becomes_scenes(folder: Path) -> None:
    source = ClipGtSource(folder.parent, FRAMING, ["CAM_FRONT"])
    assert [scene.clip_id for scene in source.scenes()] == [f"{CLIP}-{n:04d}" for n in range(4)]
    second = source.scenes()[1]
    assert second.ego_to_world is not None
    np.testing.assert_allclose(second.ego_to_world[:, 0, 3], 9 + np.arange(9), atol=1e-9)
    (car,) = second.tracks
    assert (car.id, car.category, car.size.tolist()) == ("7", "vehicle.car", [4.5, 1.9, 1.6])
    np.testing.assert_allclose(car.box_to_world[:, 0, 3], 29 + np.arange(9), atol=1e-9)
    assert car.present.all()
    # The virtual line is not painted, and the outline of the crosswalk is closed.
    assert [(lane.kind, len(lane.points)) for lane in second.lanes] == [
        ("divider", 2),
        ("boundary", 2),
        ("crossing", 4),
    ]
    assert [(camera.name, camera.width, camera.height) for camera in second.cameras] == [("CAM_FRONT", 80, 48)]
    assert (second.source, second.split, second.domain) == (CLIP, "", "driving-day")


def test_motion_is_interpolated_to_other_frame_rates(folder: Path) -> None:
    source = ClipGtSource(folder, replace(FRAMING, frame_rate=25.0), ["CAM_FRONT"])
    scene = source.scenes()[0]
    assert scene.ego_to_world is not None
    np.testing.assert_allclose(np.diff(scene.timestamps), 0.04)
    np.testing.assert_allclose(np.diff(scene.ego_to_world[:, 0, 3]), 0.4, atol=1e-9)
    np.testing.assert_allclose(np.diff(scene.tracks[0].box_to_world[:, 0, 3]), 0.4, atol=1e-9)


def test_rotation_is_interpolated_on_the_shorter_arc(folder: Path) -> None:
    def turn(rows: list[dict[str, Any]]) -> None:
        """80 degrees to the left in the second row, with the sign of the quaternion flipped."""
        angle = np.radians(80) / 2
        rows[1]["egomotion_estimate"]["orientation"] = {"x": 0.0, "y": 0.0, "z": -np.sin(angle), "w": -np.cos(angle)}

    change_rows(folder / f"{CLIP}.egomotion_estimate.parquet", turn)
    scene = ClipGtSource(folder, replace(FRAMING, frame_rate=20.0), ["CAM_FRONT"]).scenes()[0]
    assert scene.ego_to_world is not None
    headings = np.degrees(np.arctan2(scene.ego_to_world[:3, 1, 0], scene.ego_to_world[:3, 0, 0]))
    np.testing.assert_allclose(headings, [0, 40, 80], atol=1e-9)


def test_boxes_are_absent_in_long_gaps_and_outside_their_rows(folder: Path) -> None:
    def remove(rows: list[dict[str, Any]]) -> None:
        """Gaps of 0.5 and 0.6 s."""
        rows[:] = rows[2:10] + rows[14:16] + rows[21:30]

    change_rows(folder / f"{CLIP}.obstacle.parquet", remove)
    (car,) = ClipGtSource(folder, None, ["CAM_FRONT"]).scenes()[0].tracks
    assert np.flatnonzero(car.present).tolist() == [*range(2, 16), *range(21, 30)]


def test_camera_times_are_the_frames(folder: Path) -> None:
    times = 1_000_000 - 50_000 + 33_333 * np.arange(100)
    path = folder / f"{CLIP}.camera_front_wide_120fov.json"
    path.write_text(json.dumps([{"timestamp": int(time)} for time in times]))
    scene = ClipGtSource(folder, None, ["CAM_FRONT"]).scenes()[0]
    np.testing.assert_allclose(scene.timestamps, times[2:] / 1e6)  # none before the first ego pose
    path.write_text(json.dumps([{"timestamp": 2}, {"timestamp": 2}]))
    with pytest.raises(UserError, match=f"{path.name}: timestamp must be whole microseconds that strictly increase"):
        ClipGtSource(folder, None, ["CAM_FRONT"])


def test_lane_rails_stand_in_for_missing_lines(folder: Path) -> None:
    for name in ("lane_line", "road_boundary", "crosswalk"):
        (folder / f"{CLIP}.{name}.parquet").unlink()
    rail = [point(0, 0, 0), point(5, 0, 0)]
    styles = {"left_edge_styles": ["ROAD_BOUNDARY"], "right_edge_styles": ["DASHED"]}
    rows = [{"lane": {"left_rail": rail, "right_rail": rail, **styles}}]
    pq.write_table(pa.Table.from_pylist(rows), folder / f"{CLIP}.lane.parquet")
    assert [lane.kind for lane in ClipGtSource(folder, None, ["CAM_FRONT"]).scenes()[0].lanes] == [
        "boundary",
        "divider",
    ]


def test_the_folder_of_an_alpasim_scene_is_read(folder: Path) -> None:
    """In a USDZ file, names have no prefix; the clip is then named after the folder."""
    for path in folder.iterdir():
        path.rename(folder / path.name.removeprefix(f"{CLIP}."))
    assert ClipGtSource(folder, None, ["CAM_FRONT"]).scenes()[0].clip_id == "scene"


def test_the_caption_is_the_prompt_of_the_clip_or_of_its_camera(folder: Path) -> None:
    (folder / "camera_front_wide_120fov_prompt.txt").write_text("A street in the rain.\n")
    scene = ClipGtSource(folder, None, ["CAM_FRONT"]).scenes()[0]
    assert (scene.caption, scene.domain) == ("A street in the rain.", "driving-rain")
    (folder / f"{CLIP}.prompt.txt").write_text("Noon.")
    assert ClipGtSource(folder, None, ["CAM_FRONT"], domain="mine").scenes()[0].caption == "Noon."
    assert ClipGtSource(folder, None, ["CAM_FRONT"], domain="mine").scenes()[0].domain == "mine"


def test_a_fisheye_camera_is_refused_unless_it_is_left_out(folder: Path) -> None:
    with pytest.raises(UserError, match=r"of 200 degrees is too wide for a pinhole camera"):
        ClipGtSource(folder, FRAMING)
    with pytest.raises(UserError, match=r"no camera CAM_BACK; choose from CAM_FRONT, camera_rear_fisheye_200fov"):
        ClipGtSource(folder, FRAMING, ["CAM_BACK"])
    assert len(ClipGtSource(folder, FRAMING, ["camera:front:wide:120fov"])) == 4


def test_pixels_are_only_loaded_where_they_are_known(folder: Path) -> None:
    source = ClipGtSource(folder, FRAMING, ["CAM_FRONT"])
    scene = source.scenes()[0]
    assert source.files(scene) == []
    with pytest.raises(UserError, match=r"has no video of CAM_FRONT.*generate.num_first_frames=0"):
        source.load(scene)
    video = folder / "camera_front_wide_120fov_rgb.mp4"
    video.write_bytes(encode_mp4(np.zeros((41, 48, 80, 3), np.uint8), 10.0))
    assert source.files(scene) == [video]
    with pytest.raises(UserError, match="the times of its frames are unknown"):
        source.load(scene)
    times = [{"timestamp": 1_000_000 + 100_000 * n} for n in range(41)]
    (folder / f"{CLIP}.camera_front_wide_120fov.json").write_text(json.dumps(times))
    with pytest.raises(UserError, match=r"_rgb.mp4: shows an f-theta lens, whose images are not converted"):
        ClipGtSource(folder, FRAMING, ["CAM_FRONT"]).load(scene)


def test_our_own_clips_come_with_their_pixels(tmp_path: Path) -> None:
    clip = small_clip(num_frames=18, cameras=("CAM_FRONT", "CAM_BACK"))
    videos = {camera.name: encode_mp4(clip.view(camera.name), 10.0) for camera in clip.scene.cameras}
    write_clipgt(tmp_path / "drive-1", clip.scene, videos)
    source = ClipGtSource(tmp_path, FRAMING, ["CAM_BACK"])
    loaded = source.load(source.scenes()[1])
    np.testing.assert_array_equal(loaded.frames[0], decode_mp4(videos["CAM_BACK"])[0][9:])
    np.testing.assert_array_equal(loaded.scene.cameras[0].intrinsics, clip.scene.cameras[1].intrinsics)
    (item,) = list_items(tmp_path, ("CAM_FRONT",))
    np.testing.assert_array_equal(item.load().frames[0], decode_mp4(videos["CAM_FRONT"])[0])


def test_an_edited_calibration_replaces_the_exact_one(tmp_path: Path) -> None:
    clip = small_clip()
    write_clipgt(tmp_path, clip.scene, {"CAM_FRONT": encode_mp4(clip.frames[0], 10.0)})

    def raise_camera(rows: list[dict[str, Any]]) -> None:
        rig = json.loads(rows[0]["calibration_estimate"]["rig_json"])
        rig["rig"]["sensors"][0]["nominalSensor2Rig_FLU"]["t"][2] += 0.5
        rows[0]["calibration_estimate"]["rig_json"] = json.dumps(rig)

    change_rows(tmp_path / "drive-1.calibration_estimate.parquet", raise_camera)
    source = ClipGtSource(tmp_path, None)
    (scene,) = source.scenes()
    assert scene.cameras[0].camera_to_ego is not None
    assert scene.cameras[0].camera_to_ego[2, 3] == pytest.approx(2.1)
    with pytest.raises(UserError, match="shows an f-theta lens"):
        source.load(scene)


def test_a_companion_of_other_frames_is_refused(tmp_path: Path) -> None:
    write_clipgt(tmp_path, small_clip().scene)
    change = tmp_path / "drive-1.camera_front_wide_120fov.json"
    change.write_text(json.dumps(json.loads(change.read_text())[1:]))
    with pytest.raises(UserError, match=r"drive-1.driveforge.json: describes other frames than .*delete it"):
        ClipGtSource(tmp_path, None)


def _set(column: str, name: str, value: object) -> Callable[[list[dict[str, Any]]], None]:
    def change(rows: list[dict[str, Any]]) -> None:
        for row in rows[3:] if isinstance(value, float) else rows:
            row[column][name] = value

    return change


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        ("egomotion_estimate", lambda rows: rows.reverse(), "key.timestamp_micros must strictly increase"),
        ("egomotion_estimate", lambda rows: rows.clear(), "the ego pose is unknown|cannot be read"),
        ("egomotion_estimate", lambda rows: [r.pop("egomotion_estimate") for r in rows], "orientation.x is missing"),
        (
            "egomotion_estimate",
            lambda rows: [r["egomotion_estimate"]["orientation"].update(x=1.0, w=0.0) for r in rows],
            "tilts the vehicle by more than 60 degrees in row 0; quaternions are x, y, z, w",
        ),
        ("obstacle", lambda rows: rows[2]["obstacle"]["orientation"].update(w=2.0), "has length 2 in row 2, but must"),
        ("obstacle", _set("obstacle", "center", {"x": "left", "y": "0", "z": "0"}), "center.x must hold numbers"),
        ("obstacle", _set("obstacle", "category", 3), "obstacle.category must hold text"),
        ("obstacle", _set("obstacle", "size", {"x": 0.0, "y": 1.0, "z": 1.0}), "obstacle.size.x must be positive"),
        ("obstacle", lambda rows: rows.append(rows[-1]), "timestamp_micros 5000000 occurs twice for .*trackline_id 7"),
        ("obstacle", lambda rows: [r["key"].update(timestamp_micros=0.5) for r in rows], "whole microseconds"),
        ("obstacle", lambda rows: rows[4]["obstacle"].update(center=None), "center.x has an empty cell in row 4"),
        ("lane_line", _set("lane_line", "line_rail", [1.0]), "lane_line.line_rail must hold lists of points"),
        ("calibration_estimate", _set("calibration_estimate", "rig_json", "{"), "rig_json is not JSON"),
    ],
)
def test_a_wrong_table_is_named_with_its_column(
    folder: Path, table: str, change: Callable[[list[dict[str, Any]]], Any], message: str
) -> None:
    path = folder / f"{CLIP}.{table}.parquet"
    change_rows(path, change)
    with pytest.raises(UserError, match=message) as error:
        ClipGtSource(folder, None, ["CAM_FRONT"])
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(("table", "column"), [("obstacle", "center"), ("egomotion_estimate", "orientation")])
def test_nan_is_named_with_its_row(folder: Path, table: str, column: str) -> None:
    path = folder / f"{CLIP}.{table}.parquet"
    change_rows(path, lambda rows: rows[3][table][column].update(y=float("nan")))
    with pytest.raises(UserError, match=rf"{path.name}: {table}.{column}.y is NaN or infinite in row 3"):
        ClipGtSource(folder, None, ["CAM_FRONT"])


def test_nan_in_a_line_is_named_with_its_row(folder: Path) -> None:
    path = folder / f"{CLIP}.lane_line.parquet"
    change_rows(path, lambda rows: rows[1]["lane_line"]["line_rail"][0].update(z=float("inf")))
    with pytest.raises(UserError, match=rf"{path.name}: lane_line.line_rail.z is NaN or infinite in row 1"):
        ClipGtSource(folder, None, ["CAM_FRONT"])


@pytest.mark.parametrize("table", ["obstacle", "egomotion_estimate"])
def test_missing_and_damaged_files_are_named(folder: Path, table: str) -> None:
    path = folder / f"{CLIP}.{table}.parquet"
    path.write_bytes(b"PAR1 but not really")
    with pytest.raises(UserError, match=rf"{path.name}: cannot be read as parquet"):
        ClipGtSource(folder, None, ["CAM_FRONT"])
    path.unlink()
    with pytest.raises(UserError, match=rf"{path.name}: the file is missing"):
        ClipGtSource(folder, None, ["CAM_FRONT"])


def test_a_folder_without_clips_and_clips_that_are_too_short(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no ClipGT clip"):
        ClipGtSource(tmp_path / "empty", None)
    long = replace(FRAMING, num_frames=81, stride=81)
    with pytest.raises(UserError, match="1 ClipGT clips, none long enough"):
        ClipGtSource(folder, long, ["CAM_FRONT"])
    write_foreign_clip(tmp_path / "other", "second", seconds=9.0)
    source = ClipGtSource(tmp_path, long, ["CAM_FRONT"])
    assert (len(source), source.skipped) == (1, (f"{CLIP} is too short for a clip",))
