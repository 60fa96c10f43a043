"""The verdict on a clip: accepted, rejected, or unmeasured if its command could not be checked."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from driveforge.datasets.errors import UserError
from driveforge.validation.calibration import Calibration
from driveforge.validation.catalog import get_definition
from driveforge.validation.measure_definition import FAMILIES
from driveforge.validation.records import Measure, Measures

NO_LIMIT = "the calibration has no limit for it"

State = Literal["accepted", "rejected", "unmeasured"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reason:
    """One reason for not accepting a clip; ``text`` is a human-readable sentence.

    ``value`` and ``limit`` are None if the reason is that nothing could be measured.
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
    """``reasons`` are empty for an accepted clip, else the most severe is first; ``calibration`` names the limits.

    ``score`` is the joint nonconformity score of all measures, and ``limit`` the largest accepted one. A clip in which
    no measure has both a value and a limit has no score. Verdicts of older versions have neither.
    """

    clip_id: str
    state: State
    reasons: tuple[Reason, ...]
    calibration: str
    score: float | None = None
    limit: float | None = None


def judge(measures: Measures, calibration: Calibration) -> Verdict:
    """Rejected if the nonconformity score exceeds the threshold; unmeasured if an applicable family has no value.

    Measures that do not apply do not count against a clip, for example without a pose or without boxes in view. Raises
    UserError if the limits are for another tracker.
    """
    if measures.tracker != calibration.tracker:
        raise UserError(
            f"{calibration.name}: limits for clips tracked by {calibration.tracker}, but {measures.clip_id} was "
            f"tracked by {measures.tracker}; calibrate with the same validate.tracker"
        )
    limits = calibration.limits(measures)
    nonconformity_scores, threshold = calibration.nonconformity_scores(measures), calibration.threshold(measures).score
    violations = _select_violations(nonconformity_scores, threshold, calibration)
    missing = [reason for family in FAMILIES if (reason := _unmeasured_reason(family, measures.values, limits))]
    state: State = "accepted"
    reasons: list[Reason] = []
    if violations:
        by_name = {measure.name: measure for measure in measures.values}
        state, reasons = "rejected", [_violation_reason(by_name[name], limits[name]) for name in violations]
    elif missing:
        state, reasons = "unmeasured", missing
    return Verdict(
        clip_id=measures.clip_id,
        state=state,
        reasons=tuple(reasons),
        calibration=calibration.name,
        score=calibration.combined_score(nonconformity_scores) if nonconformity_scores else None,
        limit=threshold,
    )


def _select_violations(
    nonconformity_scores: Mapping[str, float], threshold: float, calibration: Calibration
) -> list[str]:
    """The measures of a rejected clip that exceed their limits; if only a combination does, the fewest that explain it.

    Empty if the clip's score does not exceed the ``threshold``.
    """
    if calibration.combined_score(nonconformity_scores) <= threshold:
        return []
    individual_scores = {
        name: calibration.score_of_one(name, nonconformity) for name, nonconformity in nonconformity_scores.items()
    }
    violations = [name for name in individual_scores if individual_scores[name] > threshold]
    if violations:
        return sorted(violations, key=lambda name: -individual_scores[name])

    def score_without(left_out: Collection[str]) -> float:
        remaining = {name: value for name, value in nonconformity_scores.items() if name not in left_out}
        return calibration.combined_score(remaining)

    # Leave out the measures that contribute most one by one until the others pass. Without any measure, the score is
    # minus infinity, so the loop terminates.
    by_severity = sorted(nonconformity_scores, key=lambda name: score_without([name]))
    for num_left_out in range(1, len(by_severity) + 1):
        if score_without(by_severity[:num_left_out]) <= threshold:
            break
    return by_severity[:num_left_out]


def _violation_reason(measure: Measure, limit: float) -> Reason:
    definition = get_definition(measure.name)
    camera = measure.name.rpartition("/")[0]
    track = f"object {measure.track}" if measure.track else ""
    parts = [part for part in (camera, _format_frames(measure.frames), track) if part]
    where = ", ".join(parts) + ": " if parts else ""
    value = measure.value or 0.0
    note = "" if value > limit else ", too high in combination with others"
    numbers = f"{measure.name} {definition.unit.format(value)}, limit {definition.unit.format(limit)}{note}"
    return Reason(
        code=definition.code,
        measure=measure.name,
        value=measure.value,
        limit=limit,
        frames=measure.frames,
        track=measure.track,
        text=f"{where}{definition.description} ({numbers})",
    )


def _format_frames(frames: Sequence[int]) -> str:
    if not frames:
        return ""
    if len(frames) == 1:
        return f"frame {frames[0]}"
    return f"frames {min(frames)} to {max(frames)}"


def _unmeasured_reason(family: str, values: Sequence[Measure], limits: Mapping[str, float]) -> Reason | None:
    """The reason why a family is unmeasured; None if it was measured or does not apply."""
    members = [m for m in values if m.family == family and "/" not in m.name]
    if any(m.value is not None and m.name in limits for m in members):
        return None
    applicable = [m for m in members if m.is_applicable]
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
        text=f"{family}: nothing could be measured; {first.name}: {reason}",
    )
