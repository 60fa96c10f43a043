"""Limits for every measure from known-good clips, such that a chosen share of good clips, and no more, is rejected.

Split conformal (Vovk et al. 2005; Bates et al., "Testing for outliers with conformal p-values", 2023). One part of the
clips, *fit*, says where each measure usually lies and how far it spreads; the score of a clip is the largest z over all
its measures. The other part, *calibrate*, gives the threshold on that score: its ceil((n + 1)(1 - a))-th smallest. So a
new clip that is like these is rejected with probability a at most, over all measures together.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datasets.errors import UserError
from validation.catalogue import definition
from validation.records import Measures

MIN_FIT = 10
CALIBRATE_SHARE = 0.5
MIN_VALUES = 6  # of a measure in the fit part, or it gets no limit
MIN_SPREAD = 0.3  # of logarithms: a few clips that agree by chance must not make a limit of iron
FORMAT = 1
SIMULATED = "simulated"
SIMULATED_NOTE = "MADE FROM SIMULATED CLIPS: these limits do not hold for real footage."

# Below these, differences mean nothing: they keep the logarithm away from zero.
_FLOORS = {
    "px": 0.1,
    "deg/s": 0.05,
    "deg": 0.05,
    "ratio": 0.1,
    "share": 0.02,
    "size": 0.05,
    "log gain": 0.002,
    "log scale": 0.02,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """The largest accepted value of a measure; ``location`` and ``spread`` are of its transformed values.

    ``num_fit`` and ``num_calibrate`` are the clips on which the measure could be taken.
    """

    measure: str
    limit: float
    location: float
    spread: float
    num_fit: int
    num_calibrate: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """Limits, and what they promise: of good clips like these at most ``false_reject_rate`` are rejected.

    ``achieved_rate`` is what the number of clips made of it. ``digest`` is the hash of the measures it was made from.
    """

    name: str
    note: str
    digest: str
    false_reject_rate: float
    achieved_rate: float
    threshold: float
    num_fit: int
    num_calibrate: int
    limits: tuple[Limit, ...]

    def limit(self, measure: str) -> Limit | None:
        """The limit of a measure; None where the calibration knows nothing of it."""
        return next((limit for limit in self.limits if limit.measure == measure), None)

    def save(self, path: Path) -> None:
        path.write_text(json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> "Calibration":
        """A UserError where the file is missing or is no calibration."""
        try:
            record = json.loads(path.read_text())
            if record.pop("format") != FORMAT:
                raise UserError(f"{path}: a calibration of another version; make it anew with `driveforge calibrate`")
            return cls(**{**record, "limits": tuple(Limit(**limit) for limit in record["limits"])})
        except FileNotFoundError as error:
            raise UserError(f"{path} does not exist: make it with `driveforge calibrate`") from error
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path}: not a calibration ({error}); make it with `driveforge calibrate`") from error


def clips_needed(false_reject_rate: float) -> int:
    """The fewest clips that can carry a false-reject rate: ceil(1 / a) - 1 to calibrate, and ``MIN_FIT`` to fit."""
    return _calibrate_needed(false_reject_rate) + MIN_FIT


def calibrate(
    sets: Sequence[Measures], *, name: str, false_reject_rate: float = 0.05, scenes: Sequence[str] | None = None
) -> Calibration:
    """Limits from the measures of known-good clips.

    ``scenes`` says which recording each clip is from (by default each is its own); clips of one scene never stand on
    both sides of the split. A UserError where there are too few clips for the rate.
    """
    if not 0 < false_reject_rate < 1:
        raise UserError(f"false_reject_rate must lie between 0 and 1, got {false_reject_rate}")
    scenes = [measures.clip_id for measures in sets] if scenes is None else list(scenes)
    if len(scenes) != len(sets):
        raise UserError(f"{len(sets)} clips but {len(scenes)} scenes were given to calibrate on")
    if len(sets) < clips_needed(false_reject_rate):
        raise UserError(
            f"{len(sets)} clips cannot carry a false-reject rate of {false_reject_rate:g}: "
            f"{clips_needed(false_reject_rate)} are needed; add clips or raise validate.false_reject_rate"
        )
    fit, held_out = _split(sets, scenes, false_reject_rate)
    fitted = _fit(fit)
    scores = sorted(_score(measures, fitted) for measures in held_out)
    rank = math.ceil((len(scores) + 1) * (1 - false_reject_rate) - 1e-9)
    threshold = scores[rank - 1]
    return Calibration(
        name=name,
        note=SIMULATED_NOTE if any(measures.source.startswith(SIMULATED) for measures in sets) else "",
        digest=_digest(sets),
        false_reject_rate=false_reject_rate,
        achieved_rate=1 - rank / (len(scores) + 1),
        threshold=threshold,
        num_fit=len(fit),
        num_calibrate=len(held_out),
        limits=tuple(_limit(measure, *row, threshold, held_out) for measure, row in fitted.items()),
    )


def calibration_rows(calibration: Calibration) -> list[tuple[str, ...]]:
    """For a table: family, measure, unit, usual value, limit, clips it was fitted on, clips it was calibrated on."""
    return [
        (
            definition(limit.measure).family,
            limit.measure,
            definition(limit.measure).unit,
            f"{_inverse(limit.measure, limit.location):.3g}",
            f"{limit.limit:.3g}",
            str(limit.num_fit),
            str(limit.num_calibrate),
        )
        for limit in calibration.limits
    ]


def _split(sets: Sequence[Measures], scenes: Sequence[str], rate: float) -> tuple[list[Measures], list[Measures]]:
    """Whole scenes, in the order of their hashes, go to *calibrate* until it has its share, the others to *fit*."""
    wanted = max(_calibrate_needed(rate), round(CALIBRATE_SHARE * len(sets)))
    wanted = min(wanted, len(sets) - MIN_FIT)
    order = sorted(set(scenes), key=lambda scene: hashlib.sha256(scene.encode()).digest())
    counts = np.cumsum([scenes.count(scene) for scene in order])
    chosen = set(order[: int(np.searchsorted(counts, wanted)) + 1])
    held_out = [m for m, scene in zip(sets, scenes, strict=True) if scene in chosen]
    fit = [m for m, scene in zip(sets, scenes, strict=True) if scene not in chosen]
    if len(fit) < MIN_FIT:
        raise UserError(f"{len(order)} scenes cannot be split into a part to fit and a part to calibrate; add scenes")
    return fit, held_out


def _calibrate_needed(rate: float) -> int:
    return math.ceil(1 / rate - 1e-9) - 1


def _fit(sets: Iterable[Measures]) -> dict[str, tuple[float, float, int]]:
    """Location, spread and number of values of every measure that was taken often enough."""
    values: dict[str, list[float]] = {}
    for measures in sets:
        for measure in measures.values:
            if measure.value is not None:
                values.setdefault(measure.name, []).append(_transform(measure.name, measure.value))
    return {
        name: (float(np.median(column)), _upper_spread(column), len(column))
        for name, column in values.items()
        if len(column) >= MIN_VALUES
    }


def _upper_spread(column: Sequence[float]) -> float:
    """A standard deviation of the upper side, from the 95 % point and from the median absolute deviation."""
    above = np.asarray(column) - np.median(column)
    tail = float(np.quantile(above, 0.95)) / 1.645
    return max(tail, 1.4826 * float(np.median(np.abs(above))), MIN_SPREAD)


def _score(measures: Measures, fitted: Mapping[str, tuple[float, float, int]]) -> float:
    """The largest z of a clip; minus infinity where nothing of it was measured."""
    zs = [
        (_transform(m.name, m.value) - fitted[m.name][0]) / fitted[m.name][1]
        for m in measures.values
        if m.value is not None and m.name in fitted
    ]
    return max(zs, default=-math.inf)


def _limit(
    measure: str, location: float, spread: float, num_fit: int, threshold: float, held_out: Iterable[Measures]
) -> Limit:
    taken = sum(m.name == measure and m.value is not None for measures in held_out for m in measures.values)
    return Limit(
        measure=measure,
        limit=_inverse(measure, location + threshold * spread),
        location=location,
        spread=spread,
        num_fit=num_fit,
        num_calibrate=taken,
    )


def _transform(measure: str, value: float) -> float:
    """Shares on the logit scale, all else on the logarithmic: there spreads compare, and limits keep within bounds."""
    unit = definition(measure).unit
    floor = _FLOORS[unit]
    if unit == "share":
        # 1 minus a correlation may leave 0..1: opposed looks are as bad as it gets, and rounding can fall below 0.
        share = (min(max(value, 0.0), 1.0) + floor) / (1 + 2 * floor)
        return math.log(share / (1 - share))
    return math.log(value + floor)


def _inverse(measure: str, transformed: float) -> float:
    unit = definition(measure).unit
    floor = _FLOORS[unit]
    if unit == "share":
        return (1 + 2 * floor) / (1 + math.exp(-transformed)) - floor
    return math.exp(transformed) - floor


def _digest(sets: Sequence[Measures]) -> str:
    records: list[dict[str, Any]] = sorted((m.to_json() for m in sets), key=lambda record: str(record["clip_id"]))
    return hashlib.sha256(json.dumps(records, sort_keys=True).encode()).hexdigest()[:16]
