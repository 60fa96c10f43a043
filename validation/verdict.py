"""The verdict on a clip: accepted, rejected, or unmeasured where what it was told to do could not be checked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from driveforge.datasets.errors import UserError
from driveforge.validation.calibration import Calibration
from driveforge.validation.catalogue import FAMILIES, definition
from driveforge.validation.records import EXCUSED, Measure, Measures

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
    guilty = _guilty(calibration.surprises(measures), calibration.threshold(measures).score, calibration.score_of)
    missing = [reason for family in FAMILIES if (reason := _missing(family, measures.values, limits))]
    by_name = {measure.name: measure for measure in measures.values}
    reasons = [_reason(by_name[name], limits[name]) for name in guilty] or missing
    return Verdict(
        clip_id=measures.clip_id,
        state="rejected" if guilty else "unmeasured" if missing else "accepted",
        reasons=tuple(reasons),
        calibration=calibration.name,
    )


def _guilty(
    surprises: Mapping[str, float], threshold: float, score_of: Callable[[Mapping[str, float]], float]
) -> list[str]:
    """Of a clip beyond the threshold: the measures that are too much alone, or the fewest that are so together."""
    alone = {name: score_of({name: surprise}) for name, surprise in surprises.items()}
    gravest_first = sorted(surprises, key=lambda name: -alone[name])
    guilty = [name for name in gravest_first if alone[name] > threshold]
    if guilty or score_of(surprises) <= threshold:
        return guilty
    rests = (score_of({name: surprises[name] for name in gravest_first[n:]}) for n in range(1, len(gravest_first) + 1))
    return gravest_first[: 1 + next(n for n, rest in enumerate(rests) if rest <= threshold)]


def _reason(measure: Measure, limit: float) -> Reason:
    about = definition(measure.name)
    parts = [part for part in (_camera(measure), _frames(measure.frames), _track(measure)) if part]
    where = ", ".join(parts) + ": " if parts else ""
    unit = "" if about.unit in ("share", "height", "ratio", "size", "log gain", "log scale") else f" {about.unit}"
    value = measure.value or 0.0
    others = "" if value > limit else ", too much with the others"
    return Reason(
        code=about.code,
        measure=measure.name,
        value=measure.value,
        limit=limit,
        frames=measure.frames,
        track=measure.track,
        text=f"{where}{about.words} ({measure.name} {value:.3g}{unit}, limit {limit:.3g}{unit}{others})",
    )


def _camera(measure: Measure) -> str:
    return measure.name.rpartition("/")[0]


def _frames(frames: Sequence[int]) -> str:
    return f"frames {min(frames)} to {max(frames)}" if len(frames) > 1 else f"frame {frames[0]}" if frames else ""


def _track(measure: Measure) -> str:
    return f"object {measure.track}" if measure.track else ""


def _missing(family: str, values: Sequence[Measure], limits: Mapping[str, float]) -> Reason | None:
    """Why a family that the clip's command calls for could not be judged; None where it was, or is not called for."""
    members = [m for m in values if m.family == family and "/" not in m.name]
    if any(m.value is not None and m.name in limits for m in members):
        return None
    called_for = [m for m in members if m.why not in EXCUSED]
    if not called_for:
        return None
    first = called_for[0]
    why = NO_LIMIT if first.value is not None else first.why
    return Reason(
        code="UNMEASURED",
        measure=first.name,
        value=None,
        limit=None,
        frames=(),
        track="",
        text=f"{family}: nothing could be judged; {first.name}: {why}",
    )
