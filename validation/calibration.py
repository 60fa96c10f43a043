"""Limits for every measure from known-good clips, such that a chosen share of good clips, and no more, is rejected.

Split conformal (Vovk et al. 2005; Bates et al., "Testing for outliers with conformal p-values", 2023). Whole scenes go
to one of three parts. *Fit* says what each measure usually is under given circumstances; the score of a clip adds up
its surprises over all measures, so that one threshold is shared by all of them. *Calibrate* gives that threshold,
its ceil((n + 1)(1 - a))-th smallest score, for every bucket of like clips that has scenes enough (Mondrian); others
fall back on the next wider bucket. *Audit*, which neither has seen, says what the limits really reject.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import beta

from datasets.durable import replace_file
from datasets.errors import UserError
from datasets.geometry import Array
from datasets.json_record import read_json, record_of
from validation.circumstances import EVERY_CLIP
from validation.expectation import CovariateScale, Expectation, fit_covariate_scale, fit_expectation, total_surprise
from validation.records import Measures

MIN_FIT = 10
CALIBRATE_SHARE = 0.45
AUDIT_SHARE = 0.2
CONFIDENCE = 0.95
FORMAT = 5
ANEW = "make it anew with `driveforge calibrate`"
SIMULATED = "simulated"
SIMULATED_NOTE = "MADE FROM SIMULATED CLIPS: these limits do not hold for real footage."


@dataclass(frozen=True, kw_only=True, slots=True)
class Threshold:
    """The largest accepted score in a ``bucket``; ``achieved_rate`` is what its number of clips made of the rate."""

    bucket: str
    score: float
    achieved_rate: float
    num_scenes: int
    num_clips: int

    def __post_init__(self) -> None:
        if not math.isfinite(self.score):
            raise UserError(f"score of {self.bucket} must be finite: otherwise every clip passes, or none")
        if not 0 <= self.achieved_rate <= 1:
            raise UserError(f"achieved_rate of {self.bucket} must lie from 0 to 1, got {self.achieved_rate:g}")
        if not 0 <= self.num_scenes <= self.num_clips:
            raise UserError(f"num_scenes of {self.bucket} must lie from 0 to its num_clips, got {self.num_scenes}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Audit:
    """What became of good clips that had no part in making the limits; ``upper`` bounds the rate at 95 % confidence."""

    num_scenes: int
    num_clips: int
    num_rejected: int
    upper: float

    def __post_init__(self) -> None:
        if not (0 < self.num_scenes <= self.num_clips and 0 <= self.num_rejected <= self.num_clips):
            raise UserError("an audit needs clips, and rejects no more of them than there are")
        if not self.rate <= self.upper <= 1:
            raise UserError(f"upper bounds the rate {self.rate:g} of an audit, got {self.upper:g}")

    @property
    def rate(self) -> float:
        return self.num_rejected / self.num_clips


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Limits, and what they promise: of good clips like these at most ``false_reject_rate`` are rejected.

    ``digest`` is the hash of the measures it was made from, ``tracker`` the name of what followed the points of those
    clips. ``thresholds`` end with that of every clip.
    """

    name: str
    note: str
    digest: str
    tracker: str
    false_reject_rate: float
    num_fit: int
    covariate_scale: CovariateScale
    thresholds: tuple[Threshold, ...]
    expectations: tuple[Expectation, ...]
    audit: Audit | None = None

    def __post_init__(self) -> None:
        if not 0 < self.false_reject_rate < 1:
            raise UserError(f"false_reject_rate must lie between 0 and 1, got {self.false_reject_rate:g}")
        buckets, names = [t.bucket for t in self.thresholds], [e.measure for e in self.expectations]
        if not buckets or buckets[-1] != EVERY_CLIP or len(set(buckets)) < len(buckets):
            raise UserError(f"thresholds must be of different buckets, the last of {EVERY_CLIP!r}")
        if len(set(names)) < len(names):
            raise UserError("expectations must be of different measures")

    @cached_property
    def by_measure(self) -> Mapping[str, Expectation]:
        return {expectation.measure: expectation for expectation in self.expectations}

    def threshold(self, measures: Measures) -> Threshold:
        """That of the narrowest bucket which the clip belongs to and which was calibrated."""
        known = {threshold.bucket: threshold for threshold in self.thresholds}
        return next(known[bucket] for bucket in _buckets(measures) if bucket in known)

    def limits(self, measures: Measures) -> dict[str, float]:
        """The largest value of every measure that is accepted by itself, for a clip of these circumstances."""
        score, covariates = self.threshold(measures).score, self.covariate_scale(measures.circumstances)
        return {e.measure: e.value_at(score, covariates, _rig(measures)) for e in self.expectations}

    def surprises(self, measures: Measures) -> dict[str, float]:
        """How surprising every measure of a clip is for which there is a limit."""
        covariates, rig, known = self.covariate_scale(measures.circumstances), _rig(measures), self.by_measure
        values = {m.name: m.value for m in measures.values if m.value is not None and m.name in known}
        return {name: known[name].score(value, covariates, rig) for name, value in values.items()}

    def score(self, measures: Measures) -> float:
        """The surprises of all measures of a clip together."""
        return total_surprise(self.surprises(measures).values())

    def save(self, path: Path) -> None:
        """Write it to ``path`` in one step, with the digest of its content."""
        record = asdict(self)
        replace_file(
            path, json.dumps({"format": FORMAT, "sha256": _sha256(record), **record}, indent=1).encode() + b"\n"
        )

    @classmethod
    def load(cls, path: Path) -> "Calibration":
        """A UserError where the file is missing, is no calibration, or was changed since it was made."""
        if not path.exists():
            raise UserError(f"{path} does not exist: make it with `driveforge calibrate`")
        record = read_json(path, ANEW)
        if not isinstance(record, dict) or record.pop("format", None) != FORMAT:
            raise UserError(f"{path}: not a calibration, or one of another version; {ANEW}")
        digest = record.pop("sha256", None)
        calibration = record_of(record, cls, str(path), ANEW)
        if digest != _sha256(asdict(calibration)):
            raise UserError(f"{path}: its content was changed since it was made; {ANEW}")
        return calibration


def _sha256(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def scenes_needed(false_reject_rate: float) -> int:
    """The fewest scenes that can carry a false-reject rate: ceil(1 / a) - 1 to calibrate, and ``MIN_FIT`` to fit."""
    return _calibrate_needed(false_reject_rate) + MIN_FIT


def calibrate(
    sets: Sequence[Measures], *, name: str, false_reject_rate: float = 0.05, scenes: Sequence[str] | None = None
) -> Calibration:
    """Limits from the measures of known-good clips.

    ``scenes`` says which recording each clip is from (by default each is its own); clips of one scene never stand in
    two parts. A UserError where there are too few scenes for the rate.
    """
    if not 0 < false_reject_rate < 1:
        raise UserError(f"false_reject_rate must lie between 0 and 1, got {false_reject_rate}")
    scenes = [measures.clip_id for measures in sets] if scenes is None else list(scenes)
    if len(scenes) != len(sets):
        raise UserError(f"{len(sets)} clips but {len(scenes)} scenes were given to calibrate on")
    trackers = sorted({measures.tracker for measures in sets})
    if len(trackers) > 1:
        raise UserError(f"clips followed by {' and by '.join(trackers)} share no limits; measure all with one tracker")
    if len(set(scenes)) < scenes_needed(false_reject_rate):
        raise UserError(
            f"clips of {len(set(scenes))} scenes cannot carry a false-reject rate of {false_reject_rate:g}: "
            f"{scenes_needed(false_reject_rate)} scenes are needed; add some or raise validate.false_reject_rate"
        )
    parts = _split(dict(zip(scenes, map(_rig, sets), strict=True)), false_reject_rate)
    fit, held_out, audited = ([(sets[n], scene) for n, scene in enumerate(scenes) if scene in part] for part in parts)
    scale = fit_covariate_scale([measures.circumstances for measures, _ in fit if measures.circumstances])
    expectations = _fit([measures for measures, _ in fit], scale)
    limits = Calibration(
        name=name,
        note=SIMULATED_NOTE if any(measures.source.startswith(SIMULATED) for measures in sets) else "",
        digest=_digest(sets),
        tracker=trackers[0],
        false_reject_rate=false_reject_rate,
        num_fit=len(fit),
        covariate_scale=scale,
        thresholds=(Threshold(bucket=EVERY_CLIP, score=0.0, achieved_rate=0.0, num_scenes=0, num_clips=0),),
        expectations=expectations,
    )
    limits = replace(limits, thresholds=_thresholds(limits, held_out))
    return replace(limits, audit=_audit(limits, audited)) if audited else limits


def _split(rigs: Mapping[str, str], rate: float) -> tuple[set[str], set[str], set[str]]:
    """The scenes to fit on, to calibrate on and to audit, of the rig of each scene.

    Every rig is spread over the parts in the order of its scenes' hashes, from the first one on: a rig of one scene is
    fitted. There is an audit only where it takes nothing away from what the rate needs.
    """
    place: dict[str, float] = {}
    for rig in set(rigs.values()):
        of_rig = sorted((scene for scene in rigs if rigs[scene] == rig), key=_hash)
        place |= {scene: rank / len(of_rig) for rank, scene in enumerate(of_rig)}
    order = sorted(rigs, key=lambda scene: (place[scene], _hash(scene)))
    num_calibrate = max(_calibrate_needed(rate), round(CALIBRATE_SHARE * len(order)))
    num_calibrate = min(num_calibrate, len(order) - MIN_FIT)
    num_audit = min(round(AUDIT_SHARE * len(order)), len(order) - num_calibrate - 2 * MIN_FIT)
    num_fit = len(order) - num_calibrate - max(num_audit, 0)
    return set(order[:num_fit]), set(order[num_fit : num_fit + num_calibrate]), set(order[num_fit + num_calibrate :])


def _hash(scene: str) -> bytes:
    return hashlib.sha256(scene.encode()).digest()


def _rig(measures: Measures) -> str:
    return measures.circumstances.rig if measures.circumstances else ""


def _calibrate_needed(rate: float) -> int:
    return math.ceil(1 / rate - 1e-9) - 1


def _fit(sets: Sequence[Measures], scale: CovariateScale) -> tuple[Expectation, ...]:
    """Of every measure that was taken often enough."""
    values: dict[str, list[float]] = {}
    covariates: dict[str, list[Array]] = {}
    rigs: dict[str, list[str]] = {}
    for measures in sets:
        for measure in measures.values:
            if measure.value is not None:
                values.setdefault(measure.name, []).append(measure.value)
                covariates.setdefault(measure.name, []).append(scale(measures.circumstances))
                rigs.setdefault(measure.name, []).append(_rig(measures))
    fitted = (fit_expectation(name, column, np.stack(covariates[name]), rigs[name]) for name, column in values.items())
    return tuple(expectation for expectation in fitted if expectation)


def _thresholds(limits: Calibration, held_out: Iterable[tuple[Measures, str]]) -> tuple[Threshold, ...]:
    """One for every bucket whose scenes can carry the rate, that of every clip last."""
    buckets: dict[str, list[tuple[float, str]]] = {}
    for measures, scene in held_out:
        score = limits.score(measures)
        for bucket in _buckets(measures):
            buckets.setdefault(bucket, []).append((score, scene))
    every = buckets.pop(EVERY_CLIP)
    needed = _calibrate_needed(limits.false_reject_rate)
    wide_enough = {b: members for b, members in sorted(buckets.items()) if len({s for _, s in members}) >= needed}
    return tuple(_threshold(b, m, limits.false_reject_rate) for b, m in {**wide_enough, EVERY_CLIP: every}.items())


def _buckets(measures: Measures) -> tuple[str, ...]:
    return measures.circumstances.buckets() if measures.circumstances else (EVERY_CLIP,)


def _threshold(bucket: str, members: Sequence[tuple[float, str]], rate: float) -> Threshold:
    scores = sorted(score for score, _ in members)
    rank = math.ceil((len(scores) + 1) * (1 - rate) - 1e-9)
    if not math.isfinite(scores[rank - 1]):
        raise UserError(f"of {len(scores)} clips to calibrate on, too few could be measured; give others, or more")
    return Threshold(
        bucket=bucket,
        score=scores[rank - 1],
        achieved_rate=1 - rank / (len(scores) + 1),
        num_scenes=len({scene for _, scene in members}),
        num_clips=len(scores),
    )


def _audit(limits: Calibration, audited: Sequence[tuple[Measures, str]]) -> Audit:
    rejected = sum(limits.score(measures) > limits.threshold(measures).score for measures, _ in audited)
    return Audit(
        num_scenes=len({scene for _, scene in audited}),
        num_clips=len(audited),
        num_rejected=rejected,
        upper=upper_bound(rejected, len(audited)),
    )


def upper_bound(count: int, total: int, confidence: float = CONFIDENCE) -> float:
    """One-sided upper bound of a rate after ``count`` in ``total`` trials (Clopper and Pearson 1934)."""
    return 1.0 if count == total else float(beta.ppf(confidence, count + 1, total - count))


def _digest(sets: Sequence[Measures]) -> str:
    records: list[dict[str, Any]] = sorted((m.to_json() for m in sets), key=lambda record: str(record["clip_id"]))
    return hashlib.sha256(json.dumps(records, sort_keys=True).encode()).hexdigest()[:16]
