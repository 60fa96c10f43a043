"""Values of a probe come back from their table as they were, and a step that is probed again is there once."""

from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from driveforge.datasets.errors import UserError
from driveforge.finetune.evaluation.results import Probed, ProbeValue, append_probed, read_probed


def probed(value: float) -> Probed:
    values = (
        ProbeValue(clip_id="a", domain="orbit", measure="mover/ade", value=value),
        ProbeValue(clip_id="b", domain="orbit", measure="mover/ade", value=3.0),
        ProbeValue(clip_id="a", domain="falling", measure="mover/ade", value=None, why="no object"),
    )
    return Probed(protocol="probe of a test", values=values)


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "probe.parquet"
    append_probed(path, probed(1.0), step=0, model="base")
    append_probed(path, probed(2.0), step=5, model="tuned")
    assert read_probed(path) == {(0, "base"): probed(1.0), (5, "tuned"): probed(2.0)}
    columns = pyarrow.parquet.read_table(path).column_names
    assert columns == ["step", "model", "clip_id", "domain", "measure", "value", "why", "protocol"]


def test_a_step_that_is_probed_again_gives_way(tmp_path: Path) -> None:
    path = tmp_path / "probe.parquet"
    for value in (1.0, 4.0):
        append_probed(path, probed(value), step=5, model="tuned")
    assert read_probed(path) == {(5, "tuned"): probed(4.0)}


def test_means_are_over_what_was_measured() -> None:
    assert probed(1.0).means() == {("orbit", "mover/ade"): 2.0}


@pytest.mark.parametrize(("value", "why"), [(None, ""), (1.0, "but"), (float("nan"), ""), (float("inf"), "")])
def test_a_value_is_a_finite_number_or_has_a_reason(value: float | None, why: str) -> None:
    with pytest.raises(UserError, match="mover/ade"):
        ProbeValue(clip_id="a", domain="orbit", measure="mover/ade", value=value, why=why)


def test_what_is_no_table_of_a_probe_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "probe.parquet"
    path.write_text("no parquet")
    with pytest.raises(UserError, match="not a table of a probe"):
        read_probed(path)
    pyarrow.parquet.write_table(pyarrow.table({"step": [1]}), path)
    with pytest.raises(UserError, match="its columns are step"):
        append_probed(path, probed(1.0), step=0, model="base")
