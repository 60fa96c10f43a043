"""Evaluations are read from their table as they were written, and a repeated step replaces the earlier one."""

from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from driveforge.datasets.errors import UserError
from driveforge.finetune.evaluation.results import Evaluation, EvaluationValue, append_evaluation, read_evaluations


def evaluation(value: float) -> Evaluation:
    values = (
        EvaluationValue(clip_id="a", domain="orbit", measure="moving_objects/ade", value=value),
        EvaluationValue(clip_id="b", domain="orbit", measure="moving_objects/ade", value=3.0),
        EvaluationValue(clip_id="a", domain="falling", measure="moving_objects/ade", value=None, reason="no object"),
    )
    return Evaluation(protocol="test protocol", values=values)


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "evaluation.parquet"
    append_evaluation(path, evaluation(1.0), step=0, model="base")
    append_evaluation(path, evaluation(2.0), step=5, model="tuned")
    assert read_evaluations(path) == {(0, "base"): evaluation(1.0), (5, "tuned"): evaluation(2.0)}
    columns = pyarrow.parquet.read_table(path).column_names
    assert columns == ["step", "model", "clip_id", "domain", "measure", "value", "reason", "protocol"]


def test_a_repeated_step_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.parquet"
    for value in (1.0, 4.0):
        append_evaluation(path, evaluation(value), step=5, model="tuned")
    assert read_evaluations(path) == {(5, "tuned"): evaluation(4.0)}


def test_means_are_over_clips_with_a_value() -> None:
    assert evaluation(1.0).means() == {("orbit", "moving_objects/ade"): 2.0}


@pytest.mark.parametrize(("value", "reason"), [(None, ""), (1.0, "but"), (float("nan"), ""), (float("inf"), "")])
def test_a_value_is_finite_or_has_a_reason(value: float | None, reason: str) -> None:
    with pytest.raises(UserError, match="moving_objects/ade"):
        EvaluationValue(clip_id="a", domain="orbit", measure="moving_objects/ade", value=value, reason=reason)


def test_another_file_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.parquet"
    path.write_text("no parquet")
    with pytest.raises(UserError, match="not an evaluation table"):
        read_evaluations(path)
    pyarrow.parquet.write_table(pyarrow.table({"step": [1]}), path)
    with pytest.raises(UserError, match="its columns are step"):
        append_evaluation(path, evaluation(1.0), step=0, model="base")
