import json
from pathlib import Path

import pytest

from driveforge.datasets.errors import UserError
from driveforge.pipelines.export.command import export
from tests.datasets.small_clips import small_clip
from tests.pipelines.export.accepted_runs import accepted_run


def test_a_decision_of_a_reviewer_that_was_not_gated_stops_the_export(tmp_path: Path) -> None:
    config = accepted_run(tmp_path / "run", [small_clip("a", seed=1), small_clip("b", seed=2)])
    decision = {"verdict": "reject", "reviewer": "Ada", "reason": "the car melts"}
    config.run.overrides.write_text(json.dumps({"b": decision}))
    with pytest.raises(UserError, match=r"the decision on b is not among the verdicts yet; run `driveforge gate`"):
        export(config.run, config.export)
    assert not config.run.shards.exists()
    config.run.overrides.write_text("{}")
    assert export(config.run, config.export).metrics["clips"] == 2
