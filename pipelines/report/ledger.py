"""The ledger: how often each model is rejected for each reason, under each condition, in the order of the models."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import pyarrow as pa

from driveforge.pipelines.report.outcomes import CONDITIONS, Outcome
from driveforge.validation.proportion import wilson_interval


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerRow:
    """Of ``num_clips`` clips of a model with ``value`` of ``condition`` ("all" for all), ``count`` have the ``reason``.

    A clip counts for each of its reasons. ``low`` and ``high`` are Wilson's 95 % interval of the ``share``; ``since``
    is when the first clip of the model was finished, "" if unknown.
    """

    model: str
    since: str
    condition: str
    value: str
    reason: str
    num_clips: int
    count: int
    share: float
    low: float
    high: float


def order_models(outcomes: Sequence[Outcome]) -> dict[str, str]:
    """When each model finished its first clip, in that order; models without a date keep their place at the start."""
    since: dict[str, str] = {}
    for outcome in outcomes:
        known = since.setdefault(outcome.model, outcome.finished_at)
        since[outcome.model] = min(filter(None, (known, outcome.finished_at)), default="")
    return dict(sorted(since.items(), key=lambda item: item[1]))


def build_ledger(outcomes: Sequence[Outcome]) -> list[LedgerRow]:
    """A row for every model, every value of every condition, and every reason that occurs anywhere."""
    reasons = sorted({reason for outcome in outcomes for reason in outcome.reasons})
    rows = []
    for model, since in order_models(outcomes).items():
        of_model = [outcome for outcome in outcomes if outcome.model == model]
        groups = {("all", ""): of_model}
        for condition in CONDITIONS:
            if condition != "model":
                for outcome in of_model:
                    groups.setdefault((condition, getattr(outcome, condition)), []).append(outcome)
        for (condition, value), chosen in groups.items():
            for reason in reasons:
                rows.append(_row(model, since, condition, value, reason, chosen))
    return rows


def describe_changes(rows: Sequence[LedgerRow]) -> list[str]:
    """What fails more often since which model: reasons whose interval lies above that of the model before."""
    models = list(dict.fromkeys(row.model for row in rows))
    overall = {(row.model, row.reason): row for row in rows if row.condition == "all"}
    changes = []
    for before, after in pairwise(models):
        for reason in sorted({row.reason for row in rows}):
            old, new = overall[before, reason], overall[after, reason]
            if new.low > old.high or new.high < old.low:
                word = "more" if new.share > old.share else "less"
                changes.append(
                    f"{reason}: {word} often since model {after}: {new.count} of {new.num_clips} clips, "
                    f"before {old.count} of {old.num_clips} (model {before})"
                )
    return changes


def ledger_table(rows: Sequence[LedgerRow]) -> pa.Table:
    """One row for each ``LedgerRow``, with its fields."""
    return pa.table({field.name: [getattr(row, field.name) for row in rows] for field in fields(LedgerRow)})


def _row(model: str, since: str, condition: str, value: str, reason: str, outcomes: Sequence[Outcome]) -> LedgerRow:
    count = sum(reason in outcome.reasons for outcome in outcomes)
    low, high = wilson_interval(count, len(outcomes))
    return LedgerRow(
        model=model,
        since=since,
        condition=condition,
        value=value or ("" if condition == "all" else "unknown"),
        reason=reason,
        num_clips=len(outcomes),
        count=count,
        share=count / len(outcomes),
        low=low,
        high=high,
    )
