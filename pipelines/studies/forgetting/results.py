"""What the runs of the forgetting study come to: changes against the base, what is given back, and how sure it is."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import Array
from driveforge.finetune.evaluation.paired_comparison import metric_sign
from driveforge.finetune.evaluation.results import Evaluation
from driveforge.pipelines.studies.forgetting.runs import RunResult
from driveforge.pipelines.studies.forgetting.variants import BASE, Variant
from driveforge.pipelines.studies.forgetting.workspace import DRIVING

Indices = NDArray[np.int64]

RESAMPLES = 2000
CONFIDENCE = 0.95
# Objects that move by themselves; where a domain has none, those that the camera moves past.
OBJECT_ERROR = ("moving_objects/ade", "static_objects/ade")
# Where footage tells no objects: points on what moves by itself; where nothing does, all others.
POINT_ERROR = ("points/moving", "points/static")


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyMetric:
    """One number a clip, or one of all clips together: the first of ``measures`` that could be taken.

    Its change is the better the higher.
    """

    label: str
    measures: tuple[str, ...]
    domains: tuple[str, ...]

    @property
    def sign(self) -> int:
        return metric_sign(self.measures[0])


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyMetrics:
    """What runs are judged by: how driving looks, how things move elsewhere, and ``all_metrics``.

    The losses of both say the same where motion and looks are too coarse to tell.
    """

    visual: StudyMetric
    dynamics: StudyMetric
    visual_loss: StudyMetric
    dynamics_loss: StudyMetric
    all_metrics: tuple[StudyMetric, ...]


def make_key_metrics(others: Sequence[str], *, has_objects: bool) -> KeyMetrics:
    """``others`` are the domains beside driving; without known objects, points are followed in their place."""
    names = tuple(others)
    error_measures, error_label = (
        (OBJECT_ERROR, "object error, px") if has_objects else (POINT_ERROR, "point error, px")
    )
    visual = StudyMetric(
        label="driving, Frechet distance of looks", measures=("frechet/appearance",), domains=(DRIVING,)
    )
    dynamics = StudyMetric(label=f"other domains, {error_label}", measures=error_measures, domains=names)
    permanence = ("moving_objects/permanence", "static_objects/permanence")
    loss_measures = ("loss/continuation/0.75-1/all",)
    visual_loss = StudyMetric(label="driving, loss at high noise", measures=loss_measures, domains=(DRIVING,))
    dynamics_loss = StudyMetric(label="other domains, loss at high noise", measures=loss_measures, domains=names)
    all_metrics = (
        visual,
        visual_loss,
        StudyMetric(label="driving, PSNR of the next frame, dB", measures=("next_frame/psnr",), domains=(DRIVING,)),
        StudyMetric(label="driving, SSIM of the next frame", measures=("next_frame/ssim",), domains=(DRIVING,)),
        StudyMetric(label=f"driving, {error_label}", measures=error_measures, domains=(DRIVING,)),
        dynamics,
        *(StudyMetric(label=f"{name}, {error_label}", measures=error_measures, domains=(name,)) for name in names),
        *([StudyMetric(label="other domains, objects still there", measures=permanence, domains=names)] * has_objects),
        dynamics_loss,
        StudyMetric(
            label="other domains, loss where things move", measures=("loss/continuation/0.75-1/moving",), domains=names
        ),
        StudyMetric(label="other domains, PSNR of the next frame, dB", measures=("next_frame/psnr",), domains=names),
    )
    return KeyMetrics(
        visual=visual, dynamics=dynamics, visual_loss=visual_loss, dynamics_loss=dynamics_loss, all_metrics=all_metrics
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A mean and its interval at 95 %, from runs and clips drawn again and again, both with replacement."""

    mean: float
    low: float
    high: float

    @property
    def is_certain(self) -> bool:
        """Whether its sign is."""
        return self.low > 0 or self.high < 0


def list_seeds(run_results: Iterable[RunResult], variant: str) -> list[int]:
    return sorted(run_result.seed for run_result in run_results if run_result.variant == variant)


def names_with_runs(run_results: Iterable[RunResult], variants: Iterable[Variant]) -> list[str]:
    """The names of those of the variants that were run at all, in their order."""
    found = {run_result.variant for run_result in run_results}
    return [variant.name for variant in variants if variant.name in found]


def values(run_results: Iterable[RunResult], variant: str, metric: StudyMetric, seeds: Sequence[int]) -> Array:
    """``(S, N)`` of a variant's runs and the clips of the quantity's domains; NaN where it could not be measured."""
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
    """Of a variant against the base of the same seed, clip by clip: above 0 it became better."""
    seeds = list_seeds(run_results, variant)
    return _mean(_improvement(run_results, variant, metric, seeds))


def advantage(run_results: Sequence[RunResult], variant: str, other: str, metric: StudyMetric) -> Estimate:
    """By how much a variant is better than another, over the seeds that both have, clip by clip."""
    seeds = sorted(set(list_seeds(run_results, variant)) & set(list_seeds(run_results, other)))
    ours, theirs = (_improvement(run_results, name, metric, seeds) for name in (variant, other))
    return _mean(ours - theirs)


def retained_share(run_results: Sequence[RunResult], variant: str, naive: str, metric: StudyMetric) -> Estimate:
    """The variant's change as a share of that of the ``naive`` fine-tune, over the seeds that the variant has."""
    seeds = list_seeds(run_results, variant)
    ours, theirs = (_improvement(run_results, name, metric, seeds) for name in (variant, naive))

    def share(rows: Indices, columns: Indices) -> float:
        at = np.ix_(rows, columns)
        return float(np.nanmean(ours[at]) / np.nanmean(theirs[at]))

    return bootstrap(ours.shape, share)


def _improvement(run_results: Sequence[RunResult], variant: str, metric: StudyMetric, seeds: Sequence[int]) -> Array:
    after, before = (values(run_results, name, metric, seeds) for name in (variant, BASE))
    return metric.sign * (after - before)


def _mean(improvement: Array) -> Estimate:
    return bootstrap(improvement.shape, lambda rows, columns: float(np.nanmean(improvement[np.ix_(rows, columns)])))


def bootstrap(shape: tuple[int, ...], statistic: Callable[[Indices, Indices], float]) -> Estimate:
    """A statistic of chosen runs and clips: of all, and over resamples of both (Owen 2007, arXiv 0712.1111)."""
    rng = np.random.default_rng(0)
    runs, clips = shape
    resampled = [statistic(rng.integers(0, runs, runs), rng.integers(0, clips, clips)) for _ in range(RESAMPLES)]
    low, high = np.nanquantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(mean=statistic(np.arange(runs), np.arange(clips)), low=float(low), high=float(high))


def best(run_results: Sequence[RunResult], variants: Iterable[Variant], metric: StudyMetric) -> str:
    """The name of that of the variants which changes a quantity for the better most, or for the worse least."""
    return max(
        names_with_runs(run_results, variants), key=lambda name: change_from_base(run_results, name, metric).mean
    )


def mean_value(run_results: Sequence[RunResult], variant: str, metric: StudyMetric) -> float:
    """The mean itself, in the measure's unit; NaN where nothing was measured."""
    found = values(run_results, variant, metric, list_seeds(run_results, variant))
    return float(np.nanmean(found)) if found.size else np.nan


def replay_share(run_results: Iterable[RunResult], variant: str) -> float:
    return float(np.mean([run_result.replay_share for run_result in run_results if run_result.variant == variant]))
