"""Accepted clips as nuScenes tables, as the devkit reads them."""

import json
import os
import re
import subprocess
import sys
import time
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot
from nuscenes.eval.common.loaders import get_samples_of_custom_split, load_gt_of_sample_tokens
from nuscenes.eval.detection.data_classes import DetectionBox
from nuscenes.nuscenes import NuScenes
from nuscenes.utils.splits import get_scenes_of_split

from driveforge.datasets.errors import UserError
from driveforge.datasets.nuscenes.source import NuScenesSource
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.export.command import export
from driveforge.pipelines.export.summary import ExportSummary
from driveforge.pipelines.run.command import run as run_all
from driveforge.pipelines.run_dir import RunDir
from tests.datasets.nuscenes.test_writer import digests
from tests.datasets.nuscenes.world import camera, edit_table, small_scene, track, write_world
from tests.pipelines.export.accepted_runs import clip_of, write_run

VERSION = "v1.0-trainval"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """Three accepted clips of two cameras, and a rejected one, exported."""
    scenes = [
        small_scene("clip-a", split="train", source="drives/1"),
        small_scene("clip-b", split="mini_val", domain="driving-rain"),
        small_scene("clip-c"),
        small_scene("clip-d", split="train"),
    ]
    run = write_run(tmp_path_factory.mktemp("run"), scenes, rejected=["clip-d"])
    export_run(run, "export.license=CC-BY-4.0")
    return run


def export_run(run: RunDir, *settings: str) -> ExportSummary:
    return export(
        run,
        compose(
            [f"run_dir={run.root}", "export.format=nuscenes", "export.allow_evaluation_split=true", *settings]
        ).export,
    )


@pytest.mark.usefixtures("agg_backend")
def test_the_devkit_opens_and_renders_every_sample_without_warnings(run: RunDir) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)  # raised by the devkit with any data
        nusc = NuScenes(VERSION, str(run.nuscenes), verbose=False)
        assert [scene["name"] for scene in nusc.scene] == ["clip-a", "clip-b", "clip-c"]
        assert {log["vehicle"] for log in nusc.log} == {"driveforge"}
        assert all(scene["description"].startswith("Synthetic: ") for scene in nusc.scene)
        for sample in nusc.sample:
            nusc.render_sample(sample["token"], verbose=False)
            pyplot.close("all")
        nusc.render_annotation(nusc.sample_annotation[0]["token"])
        nusc.render_instance(nusc.instance[0]["token"])
        nusc.list_scenes()
        pyplot.close("all")


def test_boxes_images_and_velocities_are_those_of_the_clips(run: RunDir) -> None:
    nusc = NuScenes(VERSION, str(run.nuscenes), verbose=False)
    scene, clip = small_scene(), clip_of(small_scene())
    for row in nusc.sample_data:
        t = round((row["timestamp"] - nusc.get("sample", nusc.scene[0]["first_sample_token"])["timestamp"]) / 1e5)
        if "clip-a" not in row["filename"] or row["channel"] == "LIDAR_TOP":
            continue
        boxes = {box.name: box for box in nusc.get_boxes(row["token"])}
        for box in scene.tracks[:2]:  # the third appears later
            np.testing.assert_allclose(boxes[box.category].center, box.box_to_world[t, :3, 3], rtol=0, atol=1e-5)
            velocity = nusc.box_velocity(boxes[box.category].token)
            np.testing.assert_allclose(velocity[:2], {"car": [7, 1], "truck": [8, 0]}[box.id], atol=1e-5)
        image = pyplot.imread(run.nuscenes / row["filename"])
        assert np.abs(image.astype(int) - clip.view(row["channel"])[t]).mean() < 4


def test_the_evaluation_of_the_devkit_loads_every_box(run: RunDir) -> None:
    nusc = NuScenes(VERSION, str(run.nuscenes), verbose=False)
    tokens = get_samples_of_custom_split("synthetic_train", nusc)
    boxes = load_gt_of_sample_tokens(nusc, tokens, DetectionBox)
    names = Counter(box.detection_name for box in boxes.all)
    assert names == {"car": 6, "truck": 6, "pedestrian": 2}
    assert all(box.num_pts > 0 and box.attribute_name for box in boxes.all)
    speeds = [np.hypot(*box.velocity) for box in boxes.all if box.detection_name == "truck"]
    np.testing.assert_allclose(speeds, 8, atol=1e-5)


def test_the_export_is_a_data_source(run: RunDir) -> None:
    source = NuScenesSource(run.nuscenes, VERSION, None, cameras=("CAM_FRONT", "CAM_BACK"))
    splits = {scene.clip_id.split("-cam")[0]: (scene.split, scene.domain) for scene in source.scenes()}
    assert splits == {
        "clip-a": ("train", "driving-day"), "clip-b": ("val", "driving-rain"), "clip-c": ("train", "driving-day"),
    }  # fmt: skip


def test_splits_are_read_by_the_devkit_and_told_on_the_card(run: RunDir) -> None:
    nusc = NuScenes(VERSION, str(run.nuscenes), verbose=False)
    assert get_scenes_of_split("synthetic_train", nusc) == ["clip-a", "clip-c"]
    assert get_scenes_of_split("synthetic_val", nusc) == ["clip-b"]
    card = (run.nuscenes / "README.md").read_text()
    for words in ("CC-BY-4.0", "`abc123`", "known-good", "2 train, 1 val", "every unknown scene name\n  for valid"):
        assert words in card
    record = json.loads((run.nuscenes / "driveforge.json").read_text())
    assert [scene["recording"] for scene in record["scenes"]] == ["drives/1", "", ""]
    assert max(map(len, card.splitlines())) <= 120


def test_the_python_of_the_card_runs(run: RunDir) -> None:
    code = re.findall(r"```python\n(.*?)```", (run.nuscenes / "README.md").read_text(), re.DOTALL)[0]
    result = subprocess.run(
        [sys.executable, "-c", code + "print(names)"], cwd=run.nuscenes, capture_output=True, text=True, check=True
    )
    assert "['clip-a', 'clip-c']" in result.stdout


def test_exporting_again_gives_the_same_bytes_and_follows_new_verdicts(tmp_path: Path) -> None:
    scenes = [small_scene("clip-a"), small_scene("clip-b")]
    run = write_run(tmp_path, scenes)
    export_run(run)
    before = digests(run.nuscenes)
    export_run(run)
    assert digests(run.nuscenes) == before
    with pytest.raises(UserError, match="is not a folder"):
        export_run(run, "export.merge=nowhere")
    assert digests(run.nuscenes) == before
    write_run(tmp_path, scenes, rejected=["clip-a"])
    summary = export_run(run)
    assert summary.text == "1 scene with 3 key frames (v1.0-trainval)" and summary.metrics == {
        "clips": 1,
        "samples": 3,
    }
    assert not [path for path in digests(run.nuscenes) if "clip-a" in path]
    assert not list(tmp_path.glob(".nuscenes*"))


@pytest.mark.parametrize("name", ["nuscenes_infos_train.pkl", "gt_database"])
def test_an_export_with_files_of_a_trainer_is_not_replaced(name: str, tmp_path: Path) -> None:
    run = write_run(tmp_path, [small_scene("clip-a")])
    export_run(run)
    (run.nuscenes / name).touch()
    with pytest.raises(UserError, match=f"{name} is not of an export, so .* is not replaced; move it away"):
        export_run(run)
    assert (run.nuscenes / name).exists() and (run.nuscenes / VERSION).is_dir()


def test_a_folder_of_another_origin_is_not_replaced(tmp_path: Path) -> None:
    run = write_run(tmp_path, [small_scene("clip-a")])
    write_world(run.nuscenes)
    before = digests(run.nuscenes)
    with pytest.raises(UserError, match="exists already and is not replaced"):
        export_run(run)
    assert digests(run.nuscenes) == before


def test_clips_that_nuscenes_cannot_represent_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare = (replace(camera("CAM_FRONT", 0.0), intrinsics=None),)
    odd = (track("x", "vehicle.sofa", (310, 200), (1, 0)),)
    poseless = [small_scene(f"no-pose-{n}", ego_to_world=None) for n in range(5)]
    lost = [small_scene("bare", cameras=bare), small_scene("odd", tracks=odd), *poseless]
    run = write_run(tmp_path, [small_scene("good"), *lost])
    assert export_run(run).metrics["clips"] == 1
    lines = capsys.readouterr().err.splitlines()
    assert "driveforge: not exported: odd: 'vehicle.sofa' is not a nuScenes category" in lines
    need = "nuScenes tables need an ego pose and calibration, which CAM_FRONT lacks"
    assert f"driveforge: not exported: bare, no-pose-0, no-pose-1 and 3 more: {need}" in lines
    assert f"| 1: 'vehicle.sofa' is not a nuScenes category; 6: {need} |" in (run.nuscenes / "README.md").read_text()
    write_run(tmp_path, lost)
    with pytest.raises(UserError, match="none of the 7 accepted clips can be exported"):
        export_run(run)
    assert [scene["name"] for scene in NuScenes(VERSION, str(run.nuscenes), verbose=False).scene] == ["good"]


def test_a_merged_root_opens_with_both_and_keeps_the_splits(tmp_path: Path) -> None:
    real = write_world(tmp_path / "real", small_scene("scene-0061", split="night"), small_scene("scene-0103"))
    (real / "v1.0-mini").rename(real / VERSION)
    log = real / VERSION / "log.json"
    log.write_text(log.read_text().replace('"vehicle": "driveforge"', '"vehicle": "n015"'))
    before = digests(real)
    run = write_run(tmp_path / "run", [small_scene("clip-a", split="train")])
    summary = export_run(run, f"export.merge={real}")
    assert "merged with 2 scenes" in summary.text and "hard links" in summary.text
    assert digests(real) == before
    nusc = NuScenes(VERSION, str(run.nuscenes), verbose=False)
    marks = {row["name"]: nusc.get("log", row["log_token"])["vehicle"] for row in nusc.scene}
    assert marks == {"scene-0061": "n015", "scene-0103": "n015", "clip-a": "driveforge"}
    assert len(nusc.category) == 23 and len(nusc.sensor) == 3
    splits = json.loads((run.nuscenes / VERSION / "splits.json").read_text())
    # Officially, scene-0061 is in train and scene-0103 in val.
    assert splits == {
        "night": ["scene-0061"],
        "train": ["clip-a", "scene-0061"],
        "val": ["scene-0103"],
        "synthetic_train": ["clip-a"],
    }
    assert get_scenes_of_split("night", nusc) == ["scene-0061"]
    assert "scene-0061" in get_scenes_of_split("train", nusc)
    source = NuScenesSource(run.nuscenes, VERSION, None, split="train")
    assert sorted(scene.clip_id for scene in source.scenes()) == ["clip-a-000", "scene-0061-000"]
    assert all(source.load(scene).frames.any() for scene in source.scenes())
    export_run(run)  # replaces the merged root
    assert digests(real) == before


def test_a_wrong_root_is_told_at_once_and_nothing_is_written(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [small_scene("clip-a")])
    real = write_world(tmp_path / "real", small_scene("clip-a"))
    (tmp_path / "empty").mkdir()
    started = time.monotonic()
    for merge, message in [
        (tmp_path / "missing", r"export\.merge: .*missing is not a folder"),
        (tmp_path / "empty", r"export\.merge: .* has neither v1\.0-trainval nor v1\.0-mini"),
        (real, r"export\.merge: .*scene\.json has a scene clip-a already"),
        (run.nuscenes, "must not contain each other"),
        (run.root, "must not contain each other"),
    ]:
        with pytest.raises(UserError, match=message):
            export_run(run, f"export.merge={merge}")
    (real / "maps").rename(real / "moved")
    with pytest.raises(UserError, match=r"the map mask .* is missing"):
        export_run(run, f"export.merge={real}")
    assert time.monotonic() - started < 5 and not run.nuscenes.exists()
    with pytest.raises(UserError, match=r"export\.merge is for export\.format=nuscenes"):
        compose([f"export.merge={real}"])


def test_a_whole_run_checks_the_root_before_it_trains(tmp_path: Path) -> None:
    settings = [f"run_dir={tmp_path / 'run'}", "export.format=nuscenes", f"export.merge={tmp_path / 'missing'}"]
    with pytest.raises(UserError, match=r"export\.merge: .*missing is not a folder"):
        run_all(compose(settings), None)  # type: ignore[arg-type]  # nothing is tracked before the check
    assert not (tmp_path / "run").exists()


def test_real_tables_are_merged(tmp_path: Path, real_data: Path) -> None:
    """Six cameras and a lidar, with categories that have an index, and no attribute."""
    root = real_data / "nuscenes_format" / "tri_six_cameras"
    before = {path: os.stat(path).st_mtime_ns for path in root.rglob("*")}
    run = write_run(tmp_path, [small_scene("clip-a")])
    export_run(run, f"export.merge={root}")
    assert {path: os.stat(path).st_mtime_ns for path in root.rglob("*")} == before
    nusc = NuScenes("v1.0-mini", str(run.nuscenes), verbose=False)
    assert [scene["name"] for scene in nusc.scene] == ["scene-8002", "clip-a"]
    assert len({row["name"] for row in nusc.category}) == len(nusc.category) == 23
    assert len({row["channel"] for row in nusc.sensor}) == len(nusc.sensor) == 7
    for sample in nusc.sample:
        for token in sample["data"].values():
            path, boxes, _ = nusc.get_sample_data(token)
            assert Path(path).is_file() and boxes is not None
    car = next(row for row in nusc.sample_annotation if row["attribute_tokens"])
    assert nusc.get("attribute", car["attribute_tokens"][0])["name"].startswith(car["category_name"].split(".")[0])


def test_an_edited_real_table_is_named(tmp_path: Path) -> None:
    real = write_world(tmp_path / "real", small_scene("scene-1"))
    edit_table(real, "instance", lambda rows: rows[0].pop("category_token"))
    run = write_run(tmp_path / "run", [small_scene("clip-a")])
    with pytest.raises(UserError, match=r"instance\.json: record 0 .* has no 'category_token'"):
        export_run(run, f"export.merge={real}")
    assert not run.nuscenes.exists() and not list(run.root.glob(".nuscenes*"))
