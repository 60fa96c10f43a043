"""The whole pipeline, tiny: from simulated tables to shards, and a second call that repeats nothing."""

import argparse
import json
from pathlib import Path

import pytest

from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.export.verify import verify
from driveforge.pipelines.run.demo import main as demo
from driveforge.pipelines.validate.gate import read_verdicts

SMALL = [
    "simulate=demo",
    "simulate.num_scenes=5",
    "simulate.seconds=4",
    "simulate.replay_clips=4",
    "finetune.steps=2",
    "finetune.batch_size=2",
    "generate.num_clips=3",
    "generate.clips_per_unit=2",
    "generate.sampler.num_steps=2",
    "generate.edits=[as-recorded]",
    "validate.false_reject_rate=0.3",
    "validate.num_clips=14",
    "validate.num_corrupted=1",
]


@pytest.mark.timeout(900)
def test_the_demo_runs_to_shards_and_a_second_call_repeats_nothing(tmp_path: Path) -> None:
    config = compose([*SMALL, f"run_dir={tmp_path / 'a run'}"])
    status = demo(config, argparse.Namespace())
    run_dir = config.run_dir
    ledger = read_verdicts(run_dir / "verdicts.parquet")
    assert len(ledger) == 3
    accepted = [row["clip_id"] for row in ledger if row["state"] == "accepted"]
    assert status == (0 if accepted else 1)
    assert (run_dir / "review" / "page" / "index.html").exists()
    assert len(list((run_dir / "review" / "page" / "media").glob("*/cam_front.mp4"))) == 3
    lineage = json.loads((run_dir / "model" / "lineage.json").read_text())
    assert lineage["sample_counts"]["driving"] == 3 and sum(lineage["sample_counts"].values()) == 4, (
        "a quarter is replayed"
    )
    if accepted:
        report = verify(run_dir / "shards")
        assert report.ok and report.num_samples == len(accepted)

    tars = {path: path.stat().st_mtime_ns for path in (run_dir / "candidates").glob("*.tar")}
    assert demo(config, argparse.Namespace()) == status
    assert {path: path.stat().st_mtime_ns for path in (run_dir / "candidates").glob("*.tar")} == tars
    assert read_verdicts(run_dir / "verdicts.parquet") == ledger
