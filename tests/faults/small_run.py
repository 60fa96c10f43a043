"""A whole run of the fake generator: generated, gated, exported, with two clips that a reviewer accepted."""

import json
from pathlib import Path

from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.export import export
from driveforge.pipelines.run_dir import RunDir
from driveforge.pipelines.validate.gate import gate
from driveforge.validation.cross_conformal import calibrate
from tests.pipelines.measure_sets import some_measures
from tests.pipelines.small_plans import generate_small


def config_of(run_dir: Path) -> Config:
    return compose([f"run_dir={run_dir}"])


def make_run(run_dir: Path) -> None:
    generate_small(run_dir / "candidates")
    calibrate(some_measures(60), name="by hand").save(run_dir / "calibration.json")
    words = {"verdict": "accept", "reviewer": "anna", "reason": "looks fine"}
    clips = [decision.candidate.clip_id for decision in gate(RunDir(run_dir), RunDir(run_dir).calibration)]
    (run_dir / "overrides.json").write_text(json.dumps({clip_id: words for clip_id in (clips[0], clips[5])}))
    gate(RunDir(run_dir), RunDir(run_dir).calibration)
    export(RunDir(run_dir), config_of(run_dir).export)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder by its name there."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
