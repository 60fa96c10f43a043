"""The ledger of reasons by model."""

from driveforge.pipelines.report.ledger import LedgerRow, build_ledger, describe_changes, order_models
from tests.pipelines.report.test_yields import clips


def rejected(count: int, reason: str, **changes: object) -> list:
    return clips(0, count, reasons=(reason,), **changes)


OLD = {"model": "old", "finished_at": "2026-01-01T00:00:00+00:00"}
NEW = {"model": "new", "finished_at": "2026-02-01T00:00:00+00:00"}
OUTCOMES = [
    *clips(40, 40, **NEW | {"edit": "dusk"}), *rejected(30, "OBJECT_MELTS", **NEW), *rejected(2, "TIME_CUT", **NEW),
    *clips(60, 60, **OLD), *rejected(2, "OBJECT_MELTS", **OLD), *rejected(3, "TIME_CUT", **OLD),
]  # fmt: skip


def find(rows: list[LedgerRow], model: str, reason: str, condition: str = "all", value: str = "") -> LedgerRow:
    key = (model, reason, condition, value)
    (row,) = (row for row in rows if (row.model, row.reason, row.condition, row.value) == key)
    return row


def test_models_are_in_the_order_of_their_first_clips() -> None:
    assert list(order_models(OUTCOMES)) == ["old", "new"]


def test_counts_are_those_of_each_model_and_condition() -> None:
    rows = build_ledger(OUTCOMES)
    row = find(rows, "new", "OBJECT_MELTS")
    assert (row.count, row.num_clips, row.since) == (30, 72, NEW["finished_at"])
    assert find(rows, "new", "OBJECT_MELTS", "edit", "dusk").count == 0
    assert find(rows, "new", "OBJECT_MELTS", "edit", "slower").count == 30


def test_only_clear_changes_are_described() -> None:
    (change,) = describe_changes(build_ledger(OUTCOMES))
    assert change == "OBJECT_MELTS: more often since model new: 30 of 72 clips, before 2 of 65 (model old)"
    assert describe_changes(build_ledger(clips(3, 3))) == []
