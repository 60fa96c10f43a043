"""The devkit loads and renders written tables, and their bytes depend only on their content."""

import hashlib
import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot
from numpy.typing import NDArray
from nuscenes.nuscenes import NuScenes

from driveforge.datasets.errors import UserError
from driveforge.datasets.geometry import pose
from driveforge.datasets.nuscenes.rows import key_frames, write_recording
from driveforge.datasets.nuscenes.writer import TABLES, NuScenesWriter
from tests.datasets.nuscenes.world import NUM_FRAMES, VERSION, camera, small_frame, small_scene, track, write_world


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"), small_scene(), small_scene("sim-0002", split="held_out"))


@pytest.mark.usefixtures("agg_backend")
def test_the_devkit_renders_everything_without_warnings(world: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)  # raised by the devkit with any data
        nusc = NuScenes(VERSION, str(world), verbose=False)
        for row in nusc.sample_data:
            nusc.render_sample_data(row["token"], verbose=False)
            pyplot.close("all")
        for sample in nusc.sample:
            nusc.explorer.render_sample(sample["token"], verbose=False)
            pyplot.close("all")
        annotation = next(row for row in nusc.sample_annotation if row["category_name"] == "vehicle.car")
        nusc.render_annotation(annotation["token"], extra_info=True)
        nusc.render_instance(annotation["instance_token"])
        nusc.render_egoposes_on_map("driveforge")
        nusc.list_scenes()
        nusc.list_categories()
        pyplot.close("all")


def test_all_tables_exist_and_all_links_are_valid(world: Path) -> None:
    nusc = NuScenes(VERSION, str(world), verbose=False)
    assert {p.stem for p in (world / VERSION).glob("*.json")} == {*TABLES, "splits"}
    for table in ("sample", "sample_data", "sample_annotation"):
        rows = getattr(nusc, table)
        assert rows
        for row in rows:
            if row["next"]:
                assert nusc.get(table, row["next"])["prev"] == row["token"]
    for instance in nusc.instance:
        chain, token = [], instance["first_annotation_token"]
        while token:
            chain.append(token)
            token = nusc.get("sample_annotation", token)["next"]
        assert len(chain) == instance["nbr_annotations"] and chain[-1] == instance["last_annotation_token"]
    tokens = [
        row["token"] for table in TABLES for row in getattr(nusc, table) if table not in ("visibility", "ego_pose")
    ]
    assert len(set(tokens)) == len(tokens)


def test_the_devkit_reads_custom_splits(world: Path) -> None:
    from nuscenes.utils.splits import get_scenes_of_split

    assert get_scenes_of_split("held_out", NuScenes(VERSION, str(world), verbose=False)) == ["sim-0002"]


def test_visible_boxes_have_lidar_points_and_hidden_ones_have_none(tmp_path: Path) -> None:
    ahead = track("ahead", "vehicle.truck", (312, 200), (8.0, 0.0), size=(6.0, 2.5, 3.0))
    hidden = track("hidden", "vehicle.car", (325, 200), (8.0, 0.0), size=(4.0, 1.6, 1.4))
    aside = track("aside", "vehicle.car", (302, 215), (8.0, 0.0))
    straight = pose(np.eye(3), np.array([300.0, 200, 0]) + np.arange(NUM_FRAMES)[:, None] * [0.8, 0, 0])
    scene = small_scene(tracks=(ahead, hidden, aside), ego_to_world=straight)
    rows = write_recording(tmp_path, scene, small_frame)["sample_annotation"]
    first = {row["token"]: row for row in rows if row["prev"] == ""}
    seen = [(row["visibility_token"], row["num_lidar_pts"]) for row in first.values()]
    assert seen[0][0] == "4" and seen[0][1] > 3
    assert seen[1] == ("1", 0)
    assert seen[2][0] == "1" and seen[2][1] > 0  # outside the images, but in range of the lidar


def test_attributes_distinguish_moving_and_stationary_objects(tmp_path: Path) -> None:
    parked = track("parked", "vehicle.car", (320, 204), (0.0, 0.0))
    scene = small_scene(tracks=(parked, *small_scene().tracks))
    nusc = NuScenes(VERSION, str(write_world(tmp_path, scene)), verbose=False)
    attributes = {
        row["category_name"]: nusc.get("attribute", row["attribute_tokens"][0])["name"]
        for row in reversed(nusc.sample_annotation)
    }
    assert attributes["vehicle.car"] == "vehicle.stopped"
    assert attributes["vehicle.truck"] == "vehicle.moving"
    assert attributes["human.pedestrian.adult"] == "pedestrian.moving"


def test_bytes_do_not_depend_on_how_rows_are_collected(tmp_path: Path) -> None:
    scenes = [small_scene(f"sim-{n:04d}") for n in range(3)]
    write_world(tmp_path / "one", *scenes)
    root = tmp_path / "parts"
    parts = {scene.clip_id: write_recording(root, scene, small_frame) for scene in reversed(scenes)}
    with NuScenesWriter(root, VERSION) as writer:
        for scene in scenes:
            writer.add_rows(scene, json.loads(json.dumps(parts[scene.clip_id])))
    assert digests(tmp_path / "one") == digests(root)
    assert len(json.loads((root / VERSION / "sensor.json").read_text())) == 3


def test_no_table_appears_when_writing_fails(tmp_path: Path) -> None:
    def broken(view: int, t: int) -> NDArray[np.uint8]:
        return small_frame(view, t)[: 64 - 32 * (t == 7)]

    message = r"sim-0001: frame 7 of CAM_FRONT must be uint8 \(64, 112, 3\)"
    with pytest.raises(UserError, match=message), NuScenesWriter(tmp_path, VERSION) as writer:
        writer.add_recording(small_scene(), broken)
    assert not (tmp_path / VERSION).exists()


def test_only_tables_written_by_driveforge_are_replaced(tmp_path: Path) -> None:
    write_world(tmp_path, small_scene("sim-0001"))
    write_world(tmp_path, small_scene("sim-0002"))
    assert [row["name"] for row in NuScenes(VERSION, str(tmp_path), verbose=False).scene] == ["sim-0002"]
    assert not list(tmp_path.glob(".*"))
    log = tmp_path / VERSION / "log.json"
    log.write_text(log.read_text().replace('"driveforge"', '"n015"', 1))
    with pytest.raises(UserError, match="was not written by driveforge"):
        NuScenesWriter(tmp_path, VERSION)
    log.unlink()
    with pytest.raises(UserError, match="choose another folder"):
        NuScenesWriter(tmp_path, VERSION)


def test_scenes_that_nuscenes_cannot_represent_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="sim-0001: nuScenes tables need an ego pose"):
        write_recording(tmp_path, small_scene(ego_to_world=None), small_frame)
    bare = replace(camera("CAM_FRONT", 0.0), intrinsics=None)
    with pytest.raises(UserError, match="which CAM_FRONT lacks"):
        write_recording(tmp_path, small_scene(cameras=(bare,)), small_frame)
    with pytest.raises(UserError, match=r"sim-0001: 'vehicle\.sofa' is not a nuScenes category"):
        write_recording(tmp_path, small_scene(tracks=(track("x", "vehicle.sofa", (1, 1), (0, 0)),)), small_frame)
    with pytest.raises(UserError, match="two recordings are named 'sim-0001'"):
        write_world(tmp_path, small_scene(), small_scene())
    with pytest.raises(UserError, match="no recording was added"), NuScenesWriter(tmp_path, VERSION):
        pass


def test_key_frames_enclose_every_sweep() -> None:
    assert key_frames(11, 5) == [0, 5, 10]
    assert key_frames(13, 5) == [0, 5, 10, 12]
    assert key_frames(1, 5) == [0]


def test_a_recording_off_the_map_is_moved_onto_it(tmp_path: Path) -> None:
    scene = small_scene()
    away = np.array(scene.ego_to_world)
    away[:, :3, 3] -= [5000.25, 200.0, 0.0]
    root = write_world(tmp_path, small_scene(ego_to_world=away, tracks=(), lanes=()))
    nusc = NuScenes(VERSION, str(root), verbose=False)
    moved = np.array([row["translation"] for row in nusc.ego_pose])
    assert moved[:, :2].min() >= 100 and moved[:, :2].max() < 120
    shift = moved[0] - away[0, :3, 3]
    assert np.allclose(shift, np.round(shift), atol=1e-9)
