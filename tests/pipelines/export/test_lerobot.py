"""``export.format=lerobot``."""

import json
from pathlib import Path

import numpy as np
import pytest

from driveforge.datasets.disclosure import is_marked
from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Clip
from driveforge.datasets.video import decode_mp4, encode_mp4
from driveforge.pipelines.export.command import export
from tests.datasets.small_clips import bare_clip, small_clip
from tests.pipelines.export.accepted_runs import accepted_run

FORMAT = "export.format=lerobot"
VIDEO = "videos/observation.images.cam_front/chunk-000/file-000.mp4"


def at_rate(clip: Clip, rate: float) -> Clip:
    return clip.with_scene(timestamps=np.arange(clip.scene.num_frames) / rate)


def test_accepted_clips_become_episodes(tmp_path: Path) -> None:
    clips = [small_clip(f"c-{n}", seed=n) for n in range(3)]
    config = accepted_run(tmp_path, clips, FORMAT, states={"c-1": "unmeasured"})
    summary = export(config.run, config.export)
    assert (summary.folder, summary.metrics) == (tmp_path / "lerobot", {"clips": 2})
    info = json.loads((summary.folder / "meta/info.json").read_text())
    assert (info["total_episodes"], info["total_frames"], info["fps"], info["splits"]) == (2, 18, 10, {"train": "0:2"})
    lines = [json.loads(line) for line in (summary.folder / "clips.jsonl").read_text().splitlines()]
    assert [line["clip_id"] for line in lines] == ["c-0", "c-2"]
    expected = [decode_mp4(encode_mp4(clip.frames[0], clip.scene.frame_rate))[0] for clip in clips[::2]]
    np.testing.assert_array_equal(decode_mp4(summary.folder / VIDEO)[0], np.concatenate(expected))
    assert is_marked((summary.folder / VIDEO).read_bytes())
    files = {path: path.read_bytes() for path in summary.folder.rglob("*") if path.is_file()}
    export(config.run, config.export)
    assert {path: path.read_bytes() for path in summary.folder.rglob("*") if path.is_file()} == files


def test_held_frames_are_not_exported(tmp_path: Path) -> None:
    clip = small_clip("c-0").with_scene(held_frames=4)
    config = accepted_run(tmp_path, [clip], FORMAT)
    folder = export(config.run, config.export).folder
    assert json.loads((folder / "meta/info.json").read_text())["total_frames"] == 5
    assert len(decode_mp4(folder / VIDEO)[0]) == 5


def test_clips_that_do_not_fit_are_skipped_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips = [
        at_rate(small_clip("c-0"), 10.0),
        at_rate(small_clip("c-1"), 10.1),
        at_rate(small_clip("c-2"), 12.0),
        small_clip("c-3", height=64),
        bare_clip("c-4"),
        small_clip("c-5", num_frames=1),
    ]
    config = accepted_run(tmp_path, clips, FORMAT)
    assert export(config.run, config.export).metrics == {"clips": 2}
    printed = " ".join(capsys.readouterr().err.split())
    assert "not exported: c-2: frame rate 12 Hz, that of the data set is 10 Hz" in printed
    assert "not exported: c-3: cameras CAM_FRONT 80x64, those of the data set are CAM_FRONT 80x48" in printed
    assert "not exported: c-4: no ego pose" in printed
    assert "not exported: c-5: a single frame" in printed


def test_an_export_without_clips_is_an_error(tmp_path: Path) -> None:
    config = accepted_run(tmp_path, [bare_clip("c-1")], FORMAT)
    with pytest.raises(UserError, match="none of the 1 accepted clips can be exported"):
        export(config.run, config.export)
    assert not (tmp_path / "lerobot").exists()
