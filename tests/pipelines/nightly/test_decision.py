"""Decisions about the model of a night, repeated after an interruption, in a real MLflow store."""

from pathlib import Path

import pytest

from driveforge.finetune.evaluation.results import Evaluation
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.nightly.decision import decide, read_decision
from driveforge.pipelines.registry.versions import CHAMPION, Registry, open_registry
from driveforge.pipelines.tracking.runs import pipeline_run
from tests.pipelines.promotion_runs import MOTION, make_evaluation, make_run


def night_of(root: Path, name: str) -> Config:
    return compose([f"run_dir={root / name}", f"promote.dynamics=[{MOTION}]"])


def decide_on(config: Config) -> Registry:
    with pipeline_run(config, "nightly") as tracker:
        decide(config, tracker)
    return open_registry(config.run, config.tracking, "driveforge")


@pytest.mark.timeout(600)
def test_a_decision_that_is_repeated_is_the_same(tmp_path: Path) -> None:
    """Killed before it was recorded, or before the refused model was moved; and after a rollback."""
    first = night_of(tmp_path, "first")
    make_run(first.run_dir, {0: make_evaluation(), 5: make_evaluation(1.0)})
    registry = decide_on(first)
    promoted = first.run.decision.read_bytes()
    assert read_decision(first.run).is_promoted and first.run.model.exists()
    first.run.decision.unlink()
    decide_on(first)
    assert first.run.decision.read_bytes() == promoted, "not compared with itself"

    second = night_of(tmp_path, "second")
    champion = registry.alias(CHAMPION)
    assert champion is not None
    known: dict[int | tuple[int, str], Evaluation] = {
        (0, "base"): make_evaluation(),
        (4, champion.digest): make_evaluation(1.0),
    }
    make_run(second.run_dir, {**known, 5: make_evaluation(2.0, {"orbit": 0.5})})
    decide_on(second)
    refused = read_decision(second.run)
    assert not refused.is_promoted and refused.champion == champion.number and "orbit" in refused.summary
    assert second.run.refused_model.exists() and not second.run.model.exists()
    second.run.refused_model.rename(second.run.model)
    decide_on(second)
    assert second.run.refused_model.exists() and not second.run.model.exists()
    assert registry.alias(CHAMPION) == champion

    third = night_of(tmp_path, "third")
    make_run(third.run_dir, {**known, 5: make_evaluation(3.0)})
    decide_on(third)
    assert read_decision(third.run).is_promoted
    registry.roll_back()
    third.run.decision.unlink()
    decide_on(third)
    assert "the same model was rolled back" in read_decision(third.run).summary
    assert registry.alias(CHAMPION) == champion and third.run.refused_model.exists()
