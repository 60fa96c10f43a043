"""A run folder that was copied to another place goes on there, with the same bytes."""

import json
import shutil
from pathlib import Path

import pytest

from driveforge.pipelines.cli import main
from driveforge.validation.cross_conformal import calibrate
from tests.faults.killing import snapshot
from tests.pipelines.measure_sets import some_measures

SMALL = (
    "data.height=32",
    "data.width=48",
    "data.num_frames=5",
    "data.num_scenes=4",
    "generate.num_clips=6",
    "generate.clips_per_unit=2",
    "generate.edits=[as-recorded, {edit: slow, factor: [0.5, 0.7]}]",
    "model.generator=tests.pipelines.own_generators:Own",
)


def generate(run_dir: Path, *settings: str) -> None:
    assert main(["generate", f"run_dir={run_dir}", *settings]) == 0


def export(run_dir: Path) -> None:
    candidates = sorted((run_dir / "candidates" / "_commits").glob("*.json"))
    clip_id = json.loads(candidates[0].read_text())["keys"][0]
    word = {"verdict": "accept", "reviewer": "anna", "reason": "looks fine"}
    (run_dir / "overrides.json").write_text(json.dumps({clip_id: word}))
    for command in ("gate", "export", "verify"):
        assert main([command, f"run_dir={run_dir}"]) == 0


def test_a_copied_run_goes_on_with_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, moved = tmp_path / "here" / "run", tmp_path / "elsewhere" / "deeper" / "renamed"
    generate(first, *SMALL)
    calibrate(some_measures(60), name="by hand").save(first / "calibration.json")
    # As if it had been interrupted after its first unit, and copied then.
    shutil.copytree(first, moved)
    for marker in sorted((moved / "candidates" / "_commits").glob("*.json"))[1:]:
        (moved / "candidates" / json.loads(marker.read_text())["tar"]).unlink()
        marker.unlink()
    export(first)
    whole = {name: snapshot(first / name) for name in ("candidates", "shards")}
    shutil.rmtree(first.parent)
    generate(moved)
    export(moved)
    assert snapshot(moved / "candidates") == whole["candidates"]
    assert snapshot(moved / "shards") == whole["shards"]
    named = [name for name, content in snapshot(moved).items() if content and str(first.parent).encode() in content]
    assert named == [], "no file names the place that the run was copied from"
