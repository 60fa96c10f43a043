"""One clip for the page: its measures with their limits, and how they add up to the joint score of the gate."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from driveforge.datasets.errors import UserError
from driveforge.pipelines.validate.gate import Decision
from driveforge.validation.calibration import Calibration
from driveforge.validation.catalog import criterion_of, get_definition
from driveforge.validation.nonconformity import combine_by_criterion
from driveforge.validation.records import Measures


def describe_clip(decision: Decision, calibration: Calibration) -> dict[str, Any]:
    """The measures and the joint score of a clip as JSON values.

    ``is_current`` is false if the limits are not those of the verdict, since the run was calibrated again.
    """
    measures, verdict = decision.candidate.measures, decision.verdict
    if measures.tracker != calibration.tracker:
        raise UserError(
            f"{verdict.clip_id} was tracked by {measures.tracker}, the limits are for {calibration.tracker}: "
            "calibrate with the same validate.tracker"
        )
    scores, threshold = calibration.nonconformity_scores(measures), calibration.threshold(measures)
    joint = describe_joint_score(scores, threshold.score, calibration)
    has_same_score = verdict.score is None or joint["score"] is None or math.isclose(verdict.score, joint["score"])
    return {
        "measures": describe_measures(measures, calibration, [reason.measure for reason in verdict.reasons]),
        "joint": {**joint, "bucket": threshold.bucket},
        "calibration": {"name": calibration.name, "note": calibration.note},
        "is_current": calibration.name == verdict.calibration and has_same_score,
    }


def describe_measures(measures: Measures, calibration: Calibration, reasons: Sequence[str]) -> list[dict[str, Any]]:
    """Every measure that has a value or a limit; those that are reasons first, then those closest to their limits."""
    limits = calibration.limits(measures)
    rows = [
        {
            "name": m.name,
            "family": m.family,
            "code": get_definition(m.name).code,
            "about": get_definition(m.name).description,
            "value": m.value,
            "limit": limits.get(m.name),
            "value_text": "" if m.value is None else get_definition(m.name).unit.format(m.value),
            "limit_text": get_definition(m.name).unit.format(limits[m.name]) if m.name in limits else "",
            "why": m.reason,
            "frames": list(m.frames),
            "track": m.track,
            "is_reason": m.name in reasons,
        }
        for m in measures.values
        if m.value is not None or m.name in limits
    ]
    return sorted(rows, key=lambda row: (not row["is_reason"], row["value"] is None, -_share_of_limit(row)))


def _share_of_limit(row: Mapping[str, Any]) -> float:
    value, limit = row["value"], row["limit"]
    return value / limit if value is not None and limit else 0.0


def describe_joint_score(scores: Mapping[str, float], threshold: float, calibration: Calibration) -> dict[str, Any]:
    """The joint score with its parts: the ``criteria``, and each measure's ``adds`` and score ``alone``.

    ``adds`` is the score minus the score without the measure; ``alone`` is the score if all others were usual, so a
    measure exceeds its own limit if and only if ``alone`` exceeds the threshold.
    """
    if not scores:
        return {"score": None, "limit": threshold, "criteria": [], "parts": [], "kind": "none"}
    score, totals = calibration.combined_score(scores), combine_by_criterion(scores)
    parts: list[dict[str, Any]] = [
        {
            "name": name,
            "criterion": criterion_of(name),
            "adds": _finite(score - calibration.combined_score({k: v for k, v in scores.items() if k != name})),
            "alone": _finite(calibration.score_of_one(name, value)),
        }
        for name, value in scores.items()
    ]
    parts.sort(key=lambda part: -part["adds"])
    is_single = any(part["alone"] > threshold for part in parts)
    return {
        "score": _finite(score),
        "limit": threshold,
        "criteria": [
            {"name": tail.criterion, "score": _finite(tail.score(totals[tail.criterion]))}
            for tail in calibration.tails
            if math.isfinite(totals[tail.criterion])
        ],
        "parts": parts,
        "kind": "accepted" if score <= threshold else "single" if is_single else "together",
    }


def _finite(value: float) -> float:
    """JSON has no infinity: a score that only this measure gives is as large as any."""
    return min(max(float(value), -1e6), 1e6)
