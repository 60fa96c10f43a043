"""The verdict on a clip: accepted, rejected, or unmeasured where what it was told to do could not be checked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from driveforge.datasets.errors import UserError
from driveforge.validation.calibration import Calibration
from driveforge.validation.catalog import FAMILIES, get_definition
from driveforge.validation.records import NOT_APPLICABLE_REASONS, Measure, Measures

NO_LIMIT = "the calibration holds no limit for it"


@dataclass(frozen=True, kw_only=True, slots=True)
class Reason:
    """One thing that speaks against a clip; ``text`` is a sentence for people.

    ``value`` and ``limit`` are None where the reason is that nothing could be measured.
    """

    code: str
    measure: str
    value: float | None
    limit: float | None
    frames: tuple[int, ...]
    track: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """``reasons``: none for an accepted clip, else the gravest first; ``calibration`` is the name of the limits."""

    clip_id: str
    state: Literal["accepted", "rejected", "unmeasured"]
    reasons: tuple[Reason, ...]
    calibration: str


def judge(measures: Measures, calibration: Calibration) -> Verdict:
    """Rejected where the measures are too surprising; unmeasured where a family that the command calls for is missing.

    A clip without a pose, a stationary ego or no boxes in view leave nothing to measure, which is nobody's fault.
    A UserError where the limits are for another tracker.
    """
    if measures.tracker != calibration.tracker:
        raise UserError(
            f"{calibration.name}: limits for clips followed by {calibration.tracker}, but {measures.clip_id} was "
            f"followed by {measures.tracker}; calibrate with the same validate.tracker"
        )
    limits = calibration.limits(measures)
    violations = _select_violations(
        calibration.nonconformity_scores(measures), calibration.threshold(measures).score, calibration.combined_score
    )
    missing = [reason for family in FAMILIES if (reason := _unmeasured_reason(family, measures.values, limits))]
    by_name = {measure.name: measure for measure in measures.values}
    reasons = [_reason(by_name[name], limits[name]) for name in violations] or missing
    return Verdict(
        clip_id=measures.clip_id,
        state="rejected" if violations else "unmeasured" if missing else "accepted",
        reasons=tuple(reasons),
        calibration=calibration.name,
    )


def _select_violations(
    nonconformity_scores: Mapping[str, float], threshold: float, combined_score: Callable[[Mapping[str, float]], float]
) -> list[str]:
    """Of a clip beyond the threshold: the measures that are too much alone, or the fewest that are so together."""
    individual_scores = {
        name: combined_score({name: nonconformity}) for name, nonconformity in nonconformity_scores.items()
    }
    by_severity = sorted(nonconformity_scores, key=lambda name: -individual_scores[name])
    violations = [name for name in by_severity if individual_scores[name] > threshold]
    if violations or combined_score(nonconformity_scores) <= threshold:
        return violations
    remaining_scores = (
        combined_score({name: nonconformity_scores[name] for name in by_severity[n:]})
        for n in range(1, len(by_severity) + 1)
    )
    return by_severity[: 1 + next(n for n, remaining in enumerate(remaining_scores) if remaining <= threshold)]


def _reason(measure: Measure, limit: float) -> Reason:
    definition = get_definition(measure.name)
    parts = [part for part in (_camera(measure), _frames(measure.frames), _track(measure)) if part]
    where = ", ".join(parts) + ": " if parts else ""
    unit = (
        ""
        if definition.unit in ("share", "outlier score", "ratio", "size", "log gain", "log scale")
        else f" {definition.unit}"
    )
    value = measure.value or 0.0
    suffix = "" if value > limit else ", too much with the others"
    return Reason(
        code=definition.code,
        measure=measure.name,
        value=measure.value,
        limit=limit,
        frames=measure.frames,
        track=measure.track,
        text=f"{where}{definition.description} ({measure.name} {value:.3g}{unit}, limit {limit:.3g}{unit}{suffix})",
    )


def _camera(measure: Measure) -> str:
    return measure.name.rpartition("/")[0]


def _frames(frames: Sequence[int]) -> str:
    return f"frames {min(frames)} to {max(frames)}" if len(frames) > 1 else f"frame {frames[0]}" if frames else ""


def _track(measure: Measure) -> str:
    return f"object {measure.track}" if measure.track else ""


def _unmeasured_reason(family: str, values: Sequence[Measure], limits: Mapping[str, float]) -> Reason | None:
    """Why a family that the clip's command calls for could not be judged; None where it was, or is not called for."""
    members = [m for m in values if m.family == family and "/" not in m.name]
    if any(m.value is not None and m.name in limits for m in members):
        return None
    applicable = [m for m in members if m.reason not in NOT_APPLICABLE_REASONS]
    if not applicable:
        return None
    first = applicable[0]
    reason = NO_LIMIT if first.value is not None else first.reason
    return Reason(
        code="UNMEASURED",
        measure=first.name,
        value=None,
        limit=None,
        frames=(),
        track="",
        text=f"{family}: nothing could be judged; {first.name}: {reason}",
    )
