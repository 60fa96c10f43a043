"""The command ``view``: videos with overlays, and contact sheets."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from driveforge.datasets.video import decode_mp4
from driveforge.pipelines import cli
from driveforge.pipelines.export.command import export
from driveforge.pipelines.plots.overlay_video import overlay_frames
from driveforge.validation.point_tracking.tracks import DEFAULT_TRACKER
from tests.datasets.small_clips import small_clip
from tests.pipelines.export.accepted_runs import accepted_run


def test_every_camera_gets_a_video_and_every_clip_a_sheet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips = [small_clip("a", seed=1), small_clip("b", seed=2)]
    config = accepted_run(tmp_path / "run", clips)
    shards = export(config.run, config.export).folder
    assert cli.main(["view", str(shards), "--out", str(tmp_path / "seen")]) == 0
    assert "2 clips in" in capsys.readouterr().out
    names = {path.name for path in (tmp_path / "seen").iterdir()}
    assert names == {"a.cam_front.mp4", "b.cam_front.mp4", "a.png", "b.png"}
    frames = decode_mp4((tmp_path / "seen" / "a.cam_front.mp4").read_bytes())[0]
    assert len(frames) == clips[0].scene.num_frames and frames.shape[1] >= 360
    assert cv2.imread(str(tmp_path / "seen" / "a.png")) is not None


def test_the_overlay_is_drawn_where_the_boxes_are() -> None:
    clip = small_clip("a", seed=1)
    drawn = overlay_frames(clip, "CAM_FRONT", DEFAULT_TRACKER)
    scale = drawn.shape[1] // clip.frames.shape[2]
    plain = np.stack([cv2.resize(f, drawn.shape[2:0:-1], interpolation=cv2.INTER_CUBIC) for f in clip.frames[0]])
    changed = np.abs(drawn.astype(int) - plain).max(-1) > 40
    assert scale > 1 and 0.001 < changed.mean() < 0.5


def test_an_empty_folder_is_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "none").mkdir()
    assert cli.main(["view", str(tmp_path / "none"), "--out", str(tmp_path / "seen")]) == 2
    assert str(tmp_path / "none") in capsys.readouterr().err
