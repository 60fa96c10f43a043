"""A calibration: the limits of every measure and their false-reject rate. ``cross_conformal`` fits one."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from scipy.stats import beta

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import write_atomic
from driveforge.datasets.files.json_record import read_json, validate_record
from driveforge.validation.catalog import criterion_of
from driveforge.validation.covariates import EVERY_CLIP
from driveforge.validation.nonconformity import (
    CriterionTail,
    clip_score_of_one,
    combine_by_criterion,
    compute_clip_score,
    compute_nonconformity_scores,
    criterion_score_at,
    rig_name,
)
from driveforge.validation.records import Measures
from driveforge.validation.tail_model import CovariateScale, TailModel

CONFIDENCE = 0.95
FORMAT = 9
REMAKE_HINT = "run `driveforge calibrate` again"


@dataclass(frozen=True, kw_only=True, slots=True)
class Threshold:
    """The largest accepted score in a ``bucket``.

    ``achieved_rate`` is the false-reject rate that the number of clips allows; it is at most the requested one.
    """

    bucket: str
    score: float
    achieved_rate: float
    num_scenes: int
    num_clips: int

    def __post_init__(self) -> None:
        if not math.isfinite(self.score):
            raise UserError(f"score of {self.bucket} must be finite, got {self.score}")
        if not 0 <= self.achieved_rate <= 1:
            raise UserError(f"achieved_rate of {self.bucket} must be from 0 to 1, got {self.achieved_rate:g}")
        if not 0 <= self.num_scenes <= self.num_clips:
            raise UserError(f"num_scenes of {self.bucket} must be from 0 to its num_clips, got {self.num_scenes}")


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationAudit:
    """Rejected good clips, each evaluated under limits from the other folds; ``upper_bound`` is at 95 % confidence."""

    num_scenes: int
    num_clips: int
    num_rejected: int
    upper_bound: float

    def __post_init__(self) -> None:
        if not (0 < self.num_scenes <= self.num_clips and 0 <= self.num_rejected <= self.num_clips):
            raise UserError("an audit needs at least one clip and at most num_clips rejected ones")
        if not self.rate <= self.upper_bound <= 1:
            raise UserError(
                f"upper_bound of an audit must be from its rate {self.rate:g} to 1, got {self.upper_bound:g}"
            )

    @property
    def rate(self) -> float:
        return self.num_rejected / self.num_clips


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectionPower:
    """Of ``tried`` known-good clips with one type of corruption at ``strength``, ``caught`` are not accepted."""

    corruption_type: str
    strength: float
    caught: int
    tried: int

    def __post_init__(self) -> None:
        if not 0 <= self.caught <= self.tried or self.tried == 0:
            raise UserError(f"caught of {self.corruption_type} must be from 0 to its tried, which is 1 or more")


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Limits that reject at most ``false_reject_rate`` of good clips like those that they were fitted on.

    ``digest`` is the hash of the measures of the fitted clips, ``tracker`` the name of their point tracker and
    ``num_fit_clips`` their number. The last of the ``thresholds`` is for every clip. Every measure with a tail model
    belongs to a criterion with a tail. ``power`` is empty if no corrupted clips were tried.
    """

    name: str
    note: str
    digest: str
    tracker: str
    false_reject_rate: float
    num_fit_clips: int
    covariate_scale: CovariateScale
    tail_models: tuple[TailModel, ...]
    tails: tuple[CriterionTail, ...]
    thresholds: tuple[Threshold, ...]
    audit: CalibrationAudit | None = None
    power: tuple[DetectionPower, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.false_reject_rate < 1:
            raise UserError(f"false_reject_rate must be between 0 and 1, got {self.false_reject_rate:g}")
        buckets, names = [t.bucket for t in self.thresholds], [model.measure for model in self.tail_models]
        if not buckets or buckets[-1] != EVERY_CLIP or len(set(buckets)) < len(buckets):
            raise UserError(f"thresholds must have different buckets, the last of them {EVERY_CLIP!r}")
        if len(set(names)) < len(names):
            raise UserError("tail_models must be of different measures")
        criteria = [tail.criterion for tail in self.tails]
        if len(set(criteria)) < len(criteria) or not {criterion_of(name) for name in names} <= set(criteria):
            raise UserError("tails must be of different criteria, one for each criterion of the tail_models")

    @cached_property
    def tail_model_by_measure(self) -> Mapping[str, TailModel]:
        return {tail_model.measure: tail_model for tail_model in self.tail_models}

    def threshold(self, measures: Measures) -> Threshold:
        """The threshold of the narrowest calibrated bucket that the clip belongs to."""
        return select_threshold(self.thresholds, measures)

    def limits(self, measures: Measures) -> dict[str, float]:
        """The largest accepted value of each measure while all others are usual.

        It is for a clip's covariates, rig and visibilities. A clip with other measures below the usual may be accepted
        above it.
        """
        score, covariates = self.threshold(measures).score, self.covariate_scale(measures.covariates)
        visibilities = {m.name: m.visibility for m in measures.values}
        return {
            model.measure: model.value_at(
                self.nonconformity_at(score, model.measure),
                covariates,
                rig_name(measures),
                visibilities.get(model.measure),
            )
            for model in self.tail_models
        }

    def nonconformity_scores(self, measures: Measures) -> dict[str, float]:
        """The nonconformity score of every measure that has a value and a limit."""
        return compute_nonconformity_scores(measures, self.covariate_scale, self.tail_model_by_measure)

    def nonconformity_at(self, score: float, measure: str) -> float:
        """The nonconformity score of ``measure`` that gives a clip this ``score`` while all others are usual."""
        tail = self._tail(measure)
        return tail.nonconformity_at(criterion_score_at(score, tail.criterion, self.tails))

    def score_of_one(self, measure: str, nonconformity: float) -> float:
        """The score of a clip with this nonconformity score of ``measure``, while all others are usual."""
        tail = self._tail(measure)
        return clip_score_of_one(tail.score_of_one(nonconformity), tail.criterion, self.tails)

    def _tail(self, measure: str) -> CriterionTail:
        criterion = criterion_of(measure)
        return next(tail for tail in self.tails if tail.criterion == criterion)

    def combined_score(self, nonconformity_scores: Mapping[str, float]) -> float:
        """The score of a clip from the nonconformity scores of its measures."""
        return compute_clip_score(combine_by_criterion(nonconformity_scores), self.tails)

    def score(self, measures: Measures) -> float:
        return self.combined_score(self.nonconformity_scores(measures))

    def save(self, path: Path) -> None:
        """Write the calibration to ``path`` atomically, with the digest of its content."""
        record = asdict(self)
        write_atomic(
            path, json.dumps({"format": FORMAT, "sha256": _sha256(record), **record}, indent=1).encode() + b"\n"
        )

    @classmethod
    def load(cls, path: Path | str) -> "Calibration":
        """Load a calibration. Raises UserError if the file is missing, invalid, or changed since it was written."""
        path = Path(path)
        if not path.exists():
            raise UserError(f"{path} does not exist: run `driveforge calibrate` first")
        record = read_json(path, REMAKE_HINT)
        if not isinstance(record, dict) or record.pop("format", None) != FORMAT:
            raise UserError(f"{path}: not a calibration of this version; {REMAKE_HINT}")
        digest = record.pop("sha256", None)
        calibration = validate_record(record, cls, str(path), REMAKE_HINT)
        if digest != _sha256(asdict(calibration)):
            raise UserError(f"{path}: changed since it was written; {REMAKE_HINT}")
        return calibration


def _sha256(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def select_threshold(thresholds: Sequence[Threshold], measures: Measures) -> Threshold:
    """The threshold of the narrowest bucket that a clip belongs to; the last one is for every clip."""
    known = {threshold.bucket: threshold for threshold in thresholds}
    return next(known[bucket] for bucket in list_buckets(measures) if bucket in known)


def list_buckets(measures: Measures) -> tuple[str, ...]:
    """The buckets of a clip, from the narrowest to that of every clip."""
    return measures.covariates.buckets() if measures.covariates else (EVERY_CLIP,)


def clopper_pearson_upper_bound(count: int, total: int, confidence: float = CONFIDENCE) -> float:
    """One-sided upper bound of a rate from ``count`` events in ``total`` trials (Clopper and Pearson 1934)."""
    return 1.0 if count == total else float(beta.ppf(confidence, count + 1, total - count))
