"""The example for Rerun, in an environment of its own: ``RERUN_PYTHON`` names its Python."""

import importlib.util
import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from driveforge.pipelines.export.command import export
from tests.datasets.small_clips import small_clip
from tests.pipelines.export.accepted_runs import accepted_run

EXAMPLE = Path(__file__).parents[1] / "examples" / "view_rerun.py"
ENTITIES = ("/world/ego/CAM_FRONT/image", "/world/boxes", "/world/ego_path", "/motion/speed", "/verdict")


@pytest.mark.slow
def test_a_recording_has_video_cameras_boxes_and_verdict(tmp_path: Path) -> None:
    python = os.environ.get("RERUN_PYTHON")
    if python is None:
        pytest.skip("RERUN_PYTHON does not name a Python with rerun-sdk")
    config = accepted_run(tmp_path / "run", [small_clip("a", seed=1), small_clip("b", seed=2)])
    shards = export(config.run, config.export).folder
    run = {"check": True, "capture_output": True, "text": True}
    subprocess.run([python, EXAMPLE, shards, tmp_path / "seen", "a"], **run)
    assert [path.name for path in (tmp_path / "seen").iterdir()] == ["a.rrd"]
    printed = subprocess.run([python, "-m", "rerun", "rrd", "print", tmp_path / "seen" / "a.rrd"], **run).stdout
    assert all(entity in printed for entity in ENTITIES)


def test_quaternions_are_those_of_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = types.ModuleType("rerun")
    stand_in.RecordingStream = object  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "rerun", stand_in)
    spec = importlib.util.spec_from_file_location("view_rerun", EXAMPLE)
    assert spec is not None and spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    for rotation in Rotation.random(50, random_state=0):
        found, expected = np.array(example.to_quaternion(rotation.as_matrix())), rotation.as_quat()
        assert min(np.abs(found - expected).max(), np.abs(found + expected).max()) < 1e-9
