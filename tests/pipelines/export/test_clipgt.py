"""``export.format=clipgt`` and ``data=clipgt``."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from driveforge.datasets.disclosure import is_marked
from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Clip
from driveforge.datasets.webdataset_shards.format import clip_from_members, clip_members
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.export.command import export
from driveforge.pipelines.generate.plan.planner import plan_requests
from driveforge.pipelines.inputs.settings import ClipGtData, find_kind
from tests.datasets.small_clips import bare_clip, small_clip
from tests.pipelines.export.accepted_runs import accepted_run

FORMAT = "export.format=clipgt"
FRAMING = ("data.height=48", "data.width=80", "data.num_frames=9", "data.stride=9")


def stored(clip: Clip) -> Clip:
    return clip_from_members(clip_members(clip, {}), "")[0]


def test_accepted_clips_come_back_as_they_are_in_shards(tmp_path: Path) -> None:
    clips = [small_clip(f"c-{n}", seed=n, cameras=("CAM_FRONT", "CAM_BACK"), split="mini_train") for n in range(3)]
    config = accepted_run(tmp_path, clips, FORMAT, states={"c-1": "rejected"})
    summary = export(config.run, config.export)
    assert (summary.folder, summary.text) == (tmp_path / "clipgt", "2 clips as ClipGT")
    source = compose(["data=clipgt", f"data.root={summary.folder}", "data.cameras=[]", *FRAMING]).data.open()
    assert [scene.clip_id for scene in source.scenes()] == ["c-0-0000", "c-2-0000"]
    for scene, clip in zip(source.scenes(), clips[::2], strict=True):
        expected = stored(clip)
        loaded = source.load(scene)
        np.testing.assert_array_equal(loaded.frames, expected.frames)
        np.testing.assert_allclose(scene.ego_to_world, expected.scene.ego_to_world, atol=1e-6)  # type: ignore[arg-type]
        assert (scene.caption, scene.split, scene.source) == ("eine Straße, daytime", "mini_train", "by hand")
        np.testing.assert_allclose(scene.cameras[1].intrinsics, expected.scene.cameras[1].intrinsics)  # type: ignore[arg-type]
    assert is_marked((summary.folder / "c-0" / "c-0.camera_front_wide_120fov.mp4").read_bytes())
    lines = [json.loads(line) for line in (summary.folder / "clips.jsonl").read_text().splitlines()]
    assert [line["clip_id"] for line in lines] == ["c-0", "c-2"]
    assert lines[0]["metadata"]["verdict"]["state"] == "accepted" and lines[0]["metadata"]["seed"] == 1
    assert "c-0/" in (summary.folder / "README.md").read_text()


def test_scenes_of_an_export_become_requests(tmp_path: Path) -> None:
    config = accepted_run(tmp_path, [small_clip("c-0")], FORMAT)
    export(config.run, config.export)
    again = compose(
        [
            "data=clipgt",
            f"data.root={tmp_path / 'clipgt'}",
            *FRAMING,
            "generate.num_first_frames=0",
            "generate.num_clips=2",
        ]
    )
    scenes = again.data.open().scenes()
    requests = plan_requests(scenes, lambda scene: pytest.fail("no pixels are needed"), again.generate, "m")
    assert len(requests) == 2 and all(request.scene.tracks and request.scene.lanes for request in requests)


def test_the_kind_of_an_export_is_detected(tmp_path: Path) -> None:
    config = accepted_run(tmp_path, [small_clip("c-0")], FORMAT)
    folder = export(config.run, config.export).folder
    assert find_kind(folder) is ClipGtData
    (item,) = ClipGtData.list_items(folder, config.data.item_options)
    np.testing.assert_array_equal(item.load().frames, stored(small_clip("c-0")).frames)
    assert find_kind(folder).at(folder, config.data).framing == config.data.framing


def test_held_frames_are_not_exported(tmp_path: Path) -> None:
    clip = small_clip("c-0", num_frames=9).with_scene(held_frames=4)
    config = accepted_run(tmp_path, [clip], FORMAT)
    folder = export(config.run, config.export).folder
    (item,) = ClipGtData.list_items(folder, config.data.item_options)
    np.testing.assert_array_equal(item.load().frames, stored(clip).frames[:, :5])


def test_clips_without_a_pose_are_skipped_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips = [small_clip("c-0"), bare_clip("c-1"), small_clip("c-2")]
    unknown = tuple(replace(camera, camera_to_ego=None) for camera in clips[2].scene.cameras)
    clips[2] = clips[2].with_scene(cameras=unknown)
    config = accepted_run(tmp_path, clips, FORMAT)
    assert export(config.run, config.export).metrics == {"clips": 1}
    printed = capsys.readouterr().err
    assert "not exported: c-1: no ego pose" in printed
    assert "not exported: c-2: no calibration of CAM_FRONT" in printed


def test_an_export_without_clips_is_an_error(tmp_path: Path) -> None:
    config = accepted_run(tmp_path / "a", [bare_clip("c-1")], FORMAT)
    with pytest.raises(UserError, match=r"none of the 1 accepted clips can be exported: no ego pose"):
        export(config.run, config.export)
    config = accepted_run(tmp_path / "b", [small_clip("c-1")], FORMAT, states={"c-1": "rejected"})
    with pytest.raises(UserError, match="no clip was accepted"):
        export(config.run, config.export)
    assert not (tmp_path / "a" / "clipgt").exists() and not (tmp_path / "b" / "clipgt").exists()


def test_a_second_export_replaces_the_first_and_nothing_else(tmp_path: Path) -> None:
    config = accepted_run(tmp_path, [small_clip("c-0")], FORMAT)
    folder = export(config.run, config.export).folder
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    export(config.run, config.export)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == files
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"clipgt holds notes.txt, which was changed since the export"):
        export(config.run, config.export)
    assert (folder / "notes.txt").exists()


def test_clips_of_an_evaluation_split_are_exported_only_on_request_and_marked(tmp_path: Path) -> None:
    config = accepted_run(tmp_path, [small_clip("c-0", split="val")], FORMAT)
    with pytest.raises(UserError, match="come from scenes of an evaluation split"):
        export(config.run, config.export)
    folder = export(config.run, replace(config.export, allow_evaluation_split=True)).folder
    assert "1 are from scenes of an evaluation split" in (folder / "README.md").read_text()
    assert json.loads((folder / "clips.jsonl").read_text())["metadata"]["from_evaluation_split"] is True
