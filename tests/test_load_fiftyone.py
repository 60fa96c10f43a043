"""The example for FiftyOne, in an environment of its own: ``FIFTYONE_PYTHON`` names its Python.

Where its MongoDB cannot be installed, ``FIFTYONE_DATABASE_URI`` names one.
"""

import os
import subprocess
from pathlib import Path

import pytest

from driveforge.pipelines.export.command import export
from tests.datasets.small_clips import small_clip
from tests.pipelines.export.accepted_runs import accepted_run

EXAMPLE = Path(__file__).parents[1] / "examples" / "load_fiftyone.py"
SHOW = """
import sys, fiftyone as fo
dataset = fo.load_dataset("driveforge-test")
for sample in dataset.sort_by("clip_id"):
    first = sample.frames[1].objects.detections
    print(sample.clip_id, sample.camera, len(sample.frames), sorted(box.label for box in first), sample.tags[0])
dataset.delete()
"""


@pytest.mark.slow
def test_videos_have_their_boxes_and_scores(tmp_path: Path) -> None:
    python = os.environ.get("FIFTYONE_PYTHON")
    if python is None:
        pytest.skip("FIFTYONE_PYTHON does not name a Python with fiftyone and webdataset")
    config = accepted_run(tmp_path / "run", [small_clip("a", seed=1), small_clip("b", seed=2)])
    shards = export(config.run, config.export).folder
    run = {"check": True, "capture_output": True, "text": True, "env": os.environ | {"FIFTYONE_DO_NOT_TRACK": "1"}}
    done = subprocess.run([python, EXAMPLE, shards, tmp_path / "videos", "driveforge-test"], **run)
    assert "2 videos with 18 boxes in driveforge-test" in done.stdout
    shown = subprocess.run([python, "-c", SHOW], **run).stdout.splitlines()
    labels = "['vehicle.car']"  # the pedestrian is out of view
    assert [line for line in shown if "CAM" in line] == [f"{name} CAM_FRONT 9 {labels} train" for name in "ab"]
    assert {path.name for path in (tmp_path / "videos").iterdir()} == {"a.cam_front.mp4", "b.cam_front.mp4"}
