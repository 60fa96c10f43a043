import json
from pathlib import Path
from typing import Any, Literal

import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.webdataset_shards.format import clip_members
from driveforge.datasets.webdataset_shards.tarball import write_tar
from driveforge.pipelines.export.accepted import accepted_samples
from driveforge.pipelines.export.command import export
from driveforge.pipelines.generate.commit import CommitLog
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


def test_of_several_accepted_attempts_the_best_is_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = CommitLog(tmp_path / "run" / "candidates")
    rows = []
    for name, attempt_of, score in (("a", "", 0.9), ("b", "a", 0.4), ("c", "", 0.8)):
        metadata = {"seed": 1, "edit": "as-recorded", "attempt_of": attempt_of}
        tar = write_tar(tmp_path / "scratch.tar", [(name, clip_members(small_clip(name, seed=1), metadata))]).path
        log.commit(f"u-{name}", tar)
        row = {key: "" for key in ("calibration", "edit", "model")} | {"seed": 1, "reasons": []}
        row |= {"clip_id": name, "state": "accepted", "gate_state": "accepted", "score": score, "limit": 1.0}
        rows.append(row | {"unit": f"u-{name}", "tar": log.read_marker(f"u-{name}").tar})

    def keys(chosen: list[dict[str, Any]]) -> list[str]:
        samples = accepted_samples(chosen, tmp_path / "run" / "candidates", allow_evaluation_split=False)
        return [sample.key for sample in samples]

    verdicts = [row | {"override_reviewer": None, "override_reason": None} for row in rows]
    assert keys(verdicts) == ["b", "c"]
    assert "1 accepted clips, of whose requests a better attempt is exported" in capsys.readouterr().err
    reviewed = [verdicts[0] | {"override_reviewer": "Ada", "override_reason": "fine"}, *verdicts[1:]]
    assert keys(reviewed) == ["a", "c"], "a reviewer's acceptance counts more than the score"
    assert keys([*verdicts, verdicts[2]]) == ["b", "c", "c"], "a clip that is there twice stays, to be refused"
