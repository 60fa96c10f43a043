"""The verdict on a clip: accepted, rejected, or unmeasured where what it was told to do could not be checked."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from validation.calibration import Calibration
from validation.catalogue import FAMILIES, definition
from validation.records import EXCUSED, Measure, Measures

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
    """Rejected where any measure is beyond its limit; unmeasured where a family that the command calls for is missing.

    A clip without a pose, a stationary ego or no boxes in view leave nothing to measure, which is nobody's fault.
    """
    limits = calibration.limits(measures)
    broken = [m for m in measures.values if m.value is not None and m.value > limits.get(m.name, math.inf)]
    gravest_first = sorted(broken, key=lambda m: -_excess(m, limits[m.name]))
    missing = [reason for family in FAMILIES if (reason := _missing(family, measures.values, limits))]
    reasons = [_reason(measure, limits[measure.name]) for measure in gravest_first] or missing
    return Verdict(
        clip_id=measures.clip_id,
        state="rejected" if broken else "unmeasured" if missing else "accepted",
        reasons=tuple(reasons),
        calibration=calibration.name,
    )


def _excess(measure: Measure, limit: float) -> float:
    return (measure.value or 0.0) / max(limit, 1e-9)


def _reason(measure: Measure, limit: float) -> Reason:
    about = definition(measure.name)
    parts = [part for part in (_camera(measure), _frames(measure.frames), _track(measure)) if part]
    where = ", ".join(parts) + ": " if parts else ""
    unit = "" if about.unit in ("share", "height", "ratio", "size", "log gain", "log scale") else f" {about.unit}"
    return Reason(
        code=about.code,
        measure=measure.name,
        value=measure.value,
        limit=limit,
        frames=measure.frames,
        track=measure.track,
        text=f"{where}{about.words} ({measure.name} {measure.value:.3g}{unit}, limit {limit:.3g}{unit})",
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
