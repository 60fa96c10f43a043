"""A complete run with the fake generator: generated, gated and exported, with overrides and decisions of reviewers."""

import json
from pathlib import Path

from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.export.command import export
from driveforge.pipelines.generate.costs import COSTS_FOLDER
from driveforge.pipelines.review.decisions import ReviewDecision, append_decision
from driveforge.pipelines.run_dir import RunDir
from driveforge.pipelines.validate.gate import Decision, gate
from driveforge.validation.cross_conformal import calibrate
from tests.pipelines.measure_sets import some_measures
from tests.pipelines.small_plans import generate_small


def run_gate(run_dir: Path) -> list[Decision]:
    return gate(RunDir(run_dir), RunDir(run_dir).calibration)


def run_export(run_dir: Path) -> None:
    export(RunDir(run_dir), compose([f"run_dir={run_dir}"]).export)


def make_run(run_dir: Path) -> None:
    generate_small(run_dir / "candidates")
    calibrate(some_measures(60), name="by hand").save(run_dir / "calibration.json")
    words = {"verdict": "accept", "reviewer": "anna", "reason": "looks fine"}
    clips = [decision.candidate.clip_id for decision in run_gate(run_dir)]
    (run_dir / "overrides.json").write_text(json.dumps({clip_id: words for clip_id in (clips[0], clips[5])}))
    for clip_id, verdict in ((clips[2], "accept"), (clips[3], "unsure"), (clips[5], "reject")):
        decision = ReviewDecision(clip=clip_id, reviewer="ben", verdict=verdict, time="2026-01-31T10:00:00.000Z")  # type: ignore[arg-type]
        append_decision(RunDir(run_dir).decisions, decision)
    run_gate(run_dir)
    run_export(run_dir)


def contents(folder: Path) -> dict[str, bytes]:
    """Contents of the files below a folder, by relative path, without the costs of units, which differ between runs."""
    files = {path for path in folder.rglob("*") if path.is_file() and COSTS_FOLDER not in path.parts}
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(files)}
