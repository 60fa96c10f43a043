"""Results of the validator study: AUROC, detection rates and false rejects of our measures and of baselines."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from driveforge.pipelines.studies.validator.baselines.catalog import BASELINES
from driveforge.pipelines.studies.validator.trials import Trial
from driveforge.validation.calibration import Calibration
from driveforge.validation.cross_conformal import calibrate
from driveforge.validation.verdict import judge

RATE = 0.01
OURS = "ours"


@dataclass(frozen=True, kw_only=True, slots=True)
class AcceptanceCriterion:
    """The required AUROC and detection rate of each of ``cases`` (corruption type, level), at 256 rows."""

    auroc: float
    detected: float
    cases: tuple[tuple[str, str], ...]


ACCEPTANCE_CRITERIA = (
    AcceptanceCriterion(
        auroc=0.99,
        detected=0.99,
        cases=(
            ("yaw-rate", "between"),
            ("pose-jitter", "between"),
            ("freeze", "strong"),
            ("shuffle", "strong"),
            ("cut", "strong"),
            ("reverse", "strong"),
            ("local-warp", "strong"),
        ),
    ),
    AcceptanceCriterion(
        auroc=0.97,
        detected=0.95,
        cases=(("lateral-drift", "between"), ("vanish", "strong"), ("identity-swap", "strong")),
    ),
    AcceptanceCriterion(
        auroc=0.97,
        detected=0.90,
        cases=tuple(
            (corruption_type, "strong")
            for corruption_type in (
                "object-teleport",
                "melt",
                "mosaic",
                "repaint",
                "vanish-at-edge",
                "identity-swap-at-edge",
                "melt-at-edge",
                "mosaic-at-edge",
                "repaint-at-edge",
            )
        ),
    ),
    AcceptanceCriterion(auroc=0.99, detected=0.99, cases=(("detail-decay", "strong"), ("road-blocks", "strong"))),
    AcceptanceCriterion(
        auroc=0.95,
        detected=0.90,
        cases=(("object-drift", "strong"), ("missing-vehicle", "strong"), ("camera-yaw", "strong")),
    ),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class CorruptionResult:
    """One corruption at one strength: AUROC against good clips by each method, and the share that is not accepted."""

    corruption_type: str
    level: str
    num_clips: int
    auroc: Mapping[str, float]
    detected: float


@dataclass(frozen=True, kw_only=True, slots=True)
class RejectionCounts:
    """The number of rejected and of unmeasured clips among ``total`` audited good clips."""

    rejected: int
    unmeasured: int
    total: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyResult:
    """The results for one kind of clips; ``rejections`` are the counts of audited good clips, by condition."""

    title: str
    calibration: Calibration
    rejections: Mapping[str, RejectionCounts]
    table: tuple[CorruptionResult, ...]
    seconds: float


def evaluate(title: str, trials: Sequence[Trial], num_good: int) -> StudyResult:
    """Calibrate on the first ``num_good`` good clips, and evaluate on the others and on the corrupted clips."""
    good = [trial for trial in trials if not trial.corruption_type]
    to_calibrate, audited = good[:num_good], good[num_good:]
    limits = calibrate([trial.measures for trial in to_calibrate], name=title, false_reject_rate=RATE)
    corrupted = defaultdict(list)
    for trial in trials:
        if trial.corruption_type:
            corrupted[trial.corruption_type, trial.level].append(trial)
    return StudyResult(
        title=title,
        calibration=limits,
        rejections=_count_rejections(audited, limits),
        table=tuple(
            _row(corruption_type, level, some, audited, limits) for (corruption_type, level), some in corrupted.items()
        ),
        seconds=float(np.median([trial.seconds for trial in trials])),
    )


def _count_rejections(audited: Iterable[Trial], limits: Calibration) -> dict[str, RejectionCounts]:
    states: dict[str, list[str]] = defaultdict(list)
    for trial in audited:
        covariates = trial.measures.covariates
        for name in {"all", trial.condition, trial.variant} | ({covariates.motion} if covariates else set()):
            states[name].append(judge(trial.measures, limits).state)
    return {
        name: RejectionCounts(rejected=some.count("rejected"), unmeasured=some.count("unmeasured"), total=len(some))
        for name, some in sorted(states.items())
    }


def _row(
    corruption_type: str, level: str, corrupted: Sequence[Trial], good: Sequence[Trial], limits: Calibration
) -> CorruptionResult:
    ours = auroc([limits.score(t.measures) for t in good], [limits.score(t.measures) for t in corrupted])
    return CorruptionResult(
        corruption_type=corruption_type,
        level=level,
        num_clips=len(corrupted),
        auroc={
            OURS: ours,
            **{name: auroc(_baseline_scores(name, good), _baseline_scores(name, corrupted)) for name in BASELINES},
        },
        detected=float(np.mean([judge(trial.measures, limits).state != "accepted" for trial in corrupted])),
    )


def _baseline_scores(name: str, trials: Iterable[Trial]) -> list[float]:
    """The scores of a baseline for the clips that it was computed for."""
    return [baseline_score(trial.baselines[name]) for trial in trials if trial.baselines]


def baseline_score(value: float | None) -> float:
    """The score of a baseline; a clip without a value counts as good."""
    return -np.inf if value is None else value


def auroc(good: Sequence[float], bad: Sequence[float]) -> float:
    """Probability that a bad clip scores higher than a good one, with ties as half (Mann and Whitney 1947)."""
    ranks = rankdata([*good, *bad])
    return float((ranks[len(good) :].sum() - len(bad) * (len(bad) + 1) / 2) / (len(good) * len(bad)))


def mean_auroc(result: StudyResult, level: str, judge_name: str = OURS, *, exclude: Collection[str] = ()) -> float:
    """The mean AUROC over all corruption types at a level, except those in ``exclude``."""
    rows = [row for row in result.table if row.level == level and row.corruption_type not in exclude]
    return float(np.mean([row.auroc[judge_name] for row in rows]))
