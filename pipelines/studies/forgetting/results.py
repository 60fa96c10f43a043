"""Statistics of the forgetting study: changes from the base, recovered shares, and their intervals."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from driveforge.datasets.geometry import Array
from driveforge.finetune.evaluation.paired_comparison import metric_sign
from driveforge.finetune.evaluation.results import Evaluation
from driveforge.pipelines.studies.forgetting.runs import RunResult
from driveforge.pipelines.studies.forgetting.variants import BASE, STILL, Variant
from driveforge.pipelines.studies.forgetting.workspace import DRIVING

RESAMPLES = 2000
CONFIDENCE = 0.95
# Moving objects; in domains without them, static objects.
OBJECT_ERROR = ("moving_objects/ade", "static_objects/ade")
# For footage without boxes: points on moving regions; if there are none, all others.
POINT_ERROR = ("points/moving", "points/static")


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyMetric:
    """A metric of each clip, or of all clips together: the first of ``measures`` that is available."""

    label: str
    measures: tuple[str, ...]
    domains: tuple[str, ...]

    @property
    def sign(self) -> int:
        """1 if higher is better, else -1."""
        return metric_sign(self.measures[0])


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyMetrics:
    """The metrics of a run: appearance of driving, dynamics of the other domains, both as losses and as the PSNR of the
    next frame, and all others.

    The losses are more sensitive than appearance and dynamics.
    """

    visual: StudyMetric
    dynamics: StudyMetric
    visual_loss: StudyMetric
    dynamics_loss: StudyMetric
    visual_psnr: StudyMetric
    dynamics_psnr: StudyMetric
    all_metrics: tuple[StudyMetric, ...]


def make_key_metrics(others: Sequence[str], *, has_objects: bool, judged: Sequence[str] = ()) -> KeyMetrics:
    """The metrics for driving and ``others``, the other domains; without boxes, point tracks replace objects.

    Dynamics are judged in the domains ``judged``, by default in all others.
    """
    names = tuple(others)
    point_label = "point error, px"
    error_measures, error_label = (OBJECT_ERROR, "object error, px") if has_objects else (POINT_ERROR, point_label)
    visual = StudyMetric(
        label="driving, Frechet distance of appearance", measures=("frechet/appearance",), domains=(DRIVING,)
    )
    all_dynamics = StudyMetric(label=f"other domains, {error_label}", measures=error_measures, domains=names)
    dynamics = all_dynamics
    if judged:
        dynamics = StudyMetric(
            label=f"{' and '.join(judged)}, {error_label}", measures=error_measures, domains=tuple(judged)
        )
    permanence = ("moving_objects/permanence", "static_objects/permanence")
    loss_measures = ("loss/continuation/0.75-1/all",)
    visual_loss = StudyMetric(label="driving, loss at high noise", measures=loss_measures, domains=(DRIVING,))
    dynamics_loss = StudyMetric(label="other domains, loss at high noise", measures=loss_measures, domains=names)
    psnr = ("next_frame/psnr",)
    visual_psnr = StudyMetric(label="driving, PSNR of the next frame, dB", measures=psnr, domains=(DRIVING,))
    dynamics_psnr = StudyMetric(label="other domains, PSNR of the next frame, dB", measures=psnr, domains=names)
    all_metrics = (
        visual,
        visual_loss,
        visual_psnr,
        StudyMetric(label="driving, SSIM of the next frame", measures=("next_frame/ssim",), domains=(DRIVING,)),
        StudyMetric(label=f"driving, {error_label}", measures=error_measures, domains=(DRIVING,)),
        *dict.fromkeys((dynamics, all_dynamics)),
        *(StudyMetric(label=f"{name}, {error_label}", measures=error_measures, domains=(name,)) for name in names),
        *([StudyMetric(label="other domains, object permanence", measures=permanence, domains=names)] * has_objects),
        *([StudyMetric(label=f"other domains, {point_label}", measures=POINT_ERROR, domains=names)] * has_objects),
        dynamics_loss,
        StudyMetric(
            label="other domains, loss of moving regions", measures=("loss/continuation/0.75-1/moving",), domains=names
        ),
        dynamics_psnr,
    )
    return KeyMetrics(
        visual=visual,
        dynamics=dynamics,
        visual_loss=visual_loss,
        dynamics_loss=dynamics_loss,
        visual_psnr=visual_psnr,
        dynamics_psnr=dynamics_psnr,
        all_metrics=all_metrics,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A mean and its 95 % bootstrap interval over runs and clips."""

    mean: float
    low: float
    high: float

    @property
    def is_significant(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


def list_seeds(run_results: Iterable[RunResult], variant: str) -> list[int]:
    return sorted(run_result.seed for run_result in run_results if run_result.variant == variant)


def names_with_runs(run_results: Iterable[RunResult], variants: Iterable[Variant]) -> list[str]:
    """The names of the variants that have runs, in their order."""
    found = {run_result.variant for run_result in run_results}
    return [variant.name for variant in variants if variant.name in found]


def values(run_results: Iterable[RunResult], variant: str, metric: StudyMetric, seeds: Sequence[int]) -> Array:
    """Values ``(S, N)`` of a variant: S seeds, N clips of the metric's domains; NaN if not measurable."""
    found = {
        run_result.seed: _by_clip(run_result.evaluation, metric)
        for run_result in run_results
        if run_result.variant == variant
    }
    clips = sorted({clip for by_clip in found.values() for clip in by_clip})
    return np.array([[found[seed].get(clip, np.nan) for clip in clips] for seed in seeds])


def _by_clip(evaluation: Evaluation, metric: StudyMetric) -> Mapping[tuple[str, str], float]:
    values_by_clip: dict[tuple[str, str], float] = {}
    for measure in reversed(metric.measures):
        for value in evaluation.values:
            if value.measure == measure and value.domain in metric.domains:
                values_by_clip |= {} if value.value is None else {(value.domain, value.clip_id): value.value}
    return values_by_clip


def change_from_base(run_results: Sequence[RunResult], variant: str, metric: StudyMetric) -> Estimate:
    """The change of a variant from the base of the same seed, paired by clip; positive is better."""
    seeds = list_seeds(run_results, variant)
    return _estimate(_improvement(run_results, variant, metric, seeds))


def advantage(run_results: Sequence[RunResult], variant: str, other: str, metric: StudyMetric) -> Estimate:
    """By how much a variant is better than another, over their common seeds, paired by clip."""
    seeds = sorted(set(list_seeds(run_results, variant)) & set(list_seeds(run_results, other)))
    ours, theirs = (_improvement(run_results, name, metric, seeds) for name in (variant, other))
    return _estimate(ours - theirs)


def retained_share(run_results: Sequence[RunResult], variant: str, naive: str, metric: StudyMetric) -> Estimate:
    """The change of a variant as a share of that of the ``naive`` fine-tune, over the variant's seeds."""
    seeds = list_seeds(run_results, variant)
    return _estimate(*(_improvement(run_results, name, metric, seeds) for name in (variant, naive)))


def base_advantage(run_results: Sequence[RunResult], metric: StudyMetric) -> Estimate:
    """By how much the bases are better than the still frame, paired by clip; only what they know of motion can be."""
    return _estimate(_base_advantage(run_results, metric, list_seeds(run_results, BASE)))


def lost_share(run_results: Sequence[RunResult], variant: str, metric: StudyMetric) -> Estimate:
    """The share of the base's advantage over the still frame that a variant loses; above 1, the still frame is better.

    It says little unless the advantage is significant.
    """
    seeds = list_seeds(run_results, variant)
    return _estimate(-_improvement(run_results, variant, metric, seeds), _base_advantage(run_results, metric, seeds))


def _base_advantage(run_results: Sequence[RunResult], metric: StudyMetric, seeds: Sequence[int]) -> Array:
    base, still = values(run_results, BASE, metric, seeds), values(run_results, STILL, metric, [0])
    return metric.sign * (base - still)


def recovered_share(run_results: Sequence[RunResult], variant: str, naive: str, metric: StudyMetric) -> Estimate:
    """The share of the naive loss that a variant avoids: 1 minus the share that it retains."""
    lost = retained_share(run_results, variant, naive, metric)
    return Estimate(mean=1 - lost.mean, low=1 - lost.high, high=1 - lost.low)


def _improvement(run_results: Sequence[RunResult], variant: str, metric: StudyMetric, seeds: Sequence[int]) -> Array:
    after, before = (values(run_results, name, metric, seeds) for name in (variant, BASE))
    return metric.sign * (after - before)


def _estimate(change: Array, reference: Array | None = None) -> Estimate:
    """The mean of a change ``(S, N)`` of S runs and N clips, or its ratio to that of ``reference``, without NaN.

    The interval is that of the pigeonhole bootstrap for crossed random effects (Owen 2007, arXiv 0712.1111): runs and
    clips are resampled independently.
    """
    counts = _resample(change.shape)
    means = _resampled_means(change, *counts)
    if reference is not None:
        means = means / _resampled_means(reference, *counts)
    # The first one is that of all runs and clips.
    low, high = np.nanquantile(means[1:], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(mean=float(means[0]), low=float(low), high=float(high))


@cache
def _resample(shape: tuple[int, int]) -> tuple[Array, Array]:
    """How often every run ``(1 + RESAMPLES, S)`` and clip ``(1 + RESAMPLES, N)`` is drawn; in the first row, once."""
    rng, (runs, clips) = np.random.default_rng(0), shape
    drawn = [(rng.integers(0, runs, runs), rng.integers(0, clips, clips)) for _ in range(RESAMPLES)]
    drawn = [(np.arange(runs), np.arange(clips)), *drawn]
    rows, columns = (
        np.array([np.bincount(indices, minlength=size) for indices in resampled], np.float64)
        for resampled, size in zip(zip(*drawn, strict=True), shape, strict=True)
    )
    return rows, columns


def _resampled_means(change: Array, runs: Array, clips: Array) -> Array:
    """The means of the values that were drawn, NaN excluded."""
    known = (~np.isnan(change)).astype(np.float64)
    total, number = (((runs @ matrix) * clips).sum(1) for matrix in (np.nan_to_num(change), known))
    with np.errstate(invalid="ignore"):
        return np.asarray(total / number)


def best(run_results: Sequence[RunResult], variants: Iterable[Variant], metric: StudyMetric) -> str:
    """The name of the variant with the best change of a metric."""
    return max(
        names_with_runs(run_results, variants), key=lambda name: change_from_base(run_results, name, metric).mean
    )


def mean_value(run_results: Sequence[RunResult], variant: str, metric: StudyMetric) -> float:
    """The mean in the unit of the metric; NaN if nothing was measured."""
    found = values(run_results, variant, metric, list_seeds(run_results, variant))
    return float(np.nanmean(found)) if found.size else np.nan


def replay_share(run_results: Iterable[RunResult], variant: str) -> float:
    return float(np.mean([run_result.replay_share for run_result in run_results if run_result.variant == variant]))
