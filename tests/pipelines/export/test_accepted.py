import json
from pathlib import Path
from typing import Literal

import pytest

from driveforge.datasets.errors import UserError
from driveforge.pipelines.export.command import export
from driveforge.pipelines.review.decisions import ReviewDecision, append_decision
from tests.datasets.small_clips import small_clip
from tests.pipelines.export.accepted_runs import accepted_run


def test_a_decision_of_a_reviewer_that_was_not_gated_stops_the_export(tmp_path: Path) -> None:
    config = accepted_run(tmp_path / "run", [small_clip("a", seed=1), small_clip("b", seed=2)])
    decision = {"verdict": "reject", "reviewer": "Ada", "reason": "the car melts"}
    config.run.overrides.write_text(json.dumps({"b": decision}))
    with pytest.raises(
        UserError, match=r"the reviewers' decision on b is not among the verdicts yet; run `driveforge gate`"
    ):
        export(config.run, config.export)
    assert not config.run.shards.exists()
    config.run.overrides.write_text("{}")
    assert export(config.run, config.export).metrics["clips"] == 2


def test_a_withdrawn_decision_stops_the_export_and_one_on_a_former_clip_does_not(tmp_path: Path) -> None:
    config = accepted_run(tmp_path / "run", [small_clip("a", seed=1), small_clip("b", seed=2)])

    def decide(clip: str, verdict: Literal["accept", "reject", "unsure", "cleared"]) -> None:
        decision = ReviewDecision(clip=clip, reviewer="Ada", verdict=verdict, time="2026-01-31T10:00:00.000Z")
        append_decision(config.run.decisions, decision)

    decide("former", "reject")
    decide("a", "unsure")
    assert export(config.run, config.export).metrics["clips"] == 2
    decide("a", "reject")
    with pytest.raises(UserError, match="decision on a is not among the verdicts yet"):
        export(config.run, config.export)
    decide("a", "cleared")
    assert export(config.run, config.export).metrics["clips"] == 2
