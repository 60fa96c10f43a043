"""What the runs of the forgetting study come to: changes against the base, what is given back, and how sure it is."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import Array
from driveforge.finetune.evaluation.paired import sign_of
from driveforge.finetune.evaluation.results import Probed
from driveforge.pipelines.studies.forgetting.runs import Outcome
from driveforge.pipelines.studies.forgetting.variants import BASE, Variant
from driveforge.pipelines.studies.forgetting.workspace import DRIVING

Chosen = NDArray[np.int64]

RESAMPLES = 2000
CONFIDENCE = 0.95
# Objects that move by themselves; where a domain has none, those that the camera moves past.
OBJECT_ERROR = ("mover/ade", "standing/ade")
# Where footage tells no objects: points on what moves by itself; where nothing does, all others.
POINT_ERROR = ("points/moving", "points/static")


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantity:
    """One number a clip, or one of all clips together: the first of ``measures`` that could be taken.

    Its change is the better the higher.
    """

    words: str
    measures: tuple[str, ...]
    domains: tuple[str, ...]

    @property
    def sign(self) -> int:
        return sign_of(self.measures[0])


@dataclass(frozen=True, kw_only=True, slots=True)
class Yardsticks:
    """What runs are judged by: how driving looks, how things move elsewhere, and all ``every`` quantities.

    The losses of both say the same where motion and looks are too coarse to tell.
    """

    visual: Quantity
    dynamics: Quantity
    visual_loss: Quantity
    dynamics_loss: Quantity
    every: tuple[Quantity, ...]


def yardsticks(others: Sequence[str], *, has_objects: bool) -> Yardsticks:
    """``others`` are the domains beside driving; without known objects, points are followed in their place."""
    names = tuple(others)
    error, what = (OBJECT_ERROR, "object error, px") if has_objects else (POINT_ERROR, "point error, px")
    visual = Quantity(words="driving, Frechet distance of looks", measures=("frechet/looks",), domains=(DRIVING,))
    dynamics = Quantity(words=f"other domains, {what}", measures=error, domains=names)
    there = ("mover/permanence", "standing/permanence")
    loss = ("loss/predict/0.75-1/all",)
    visual_loss = Quantity(words="driving, loss at high noise", measures=loss, domains=(DRIVING,))
    dynamics_loss = Quantity(words="other domains, loss at high noise", measures=loss, domains=names)
    every = (
        visual,
        visual_loss,
        Quantity(words="driving, PSNR of the next frame, dB", measures=("next/psnr",), domains=(DRIVING,)),
        Quantity(words="driving, SSIM of the next frame", measures=("next/ssim",), domains=(DRIVING,)),
        Quantity(words=f"driving, {what}", measures=error, domains=(DRIVING,)),
        dynamics,
        *(Quantity(words=f"{name}, {what}", measures=error, domains=(name,)) for name in names),
        *([Quantity(words="other domains, objects still there", measures=there, domains=names)] * has_objects),
        dynamics_loss,
        Quantity(
            words="other domains, loss where things move", measures=("loss/predict/0.75-1/moving",), domains=names
        ),
        Quantity(words="other domains, PSNR of the next frame, dB", measures=("next/psnr",), domains=names),
    )
    return Yardsticks(
        visual=visual, dynamics=dynamics, visual_loss=visual_loss, dynamics_loss=dynamics_loss, every=every
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


def seeds_of(outcomes: Iterable[Outcome], variant: str) -> list[int]:
    return sorted(outcome.seed for outcome in outcomes if outcome.variant == variant)


def ran(outcomes: Iterable[Outcome], variants: Iterable[Variant]) -> list[str]:
    """The names of those of the variants that were run at all, in their order."""
    found = {outcome.variant for outcome in outcomes}
    return [variant.name for variant in variants if variant.name in found]


def values(outcomes: Iterable[Outcome], variant: str, quantity: Quantity, seeds: Sequence[int]) -> Array:
    """``(S, N)`` of a variant's runs and the clips of the quantity's domains; NaN where it could not be measured."""
    found = {outcome.seed: _by_clip(outcome.probed, quantity) for outcome in outcomes if outcome.variant == variant}
    clips = sorted({clip for by_clip in found.values() for clip in by_clip})
    return np.array([[found[seed].get(clip, np.nan) for clip in clips] for seed in seeds])


def _by_clip(probed: Probed, quantity: Quantity) -> Mapping[tuple[str, str], float]:
    chosen: dict[tuple[str, str], float] = {}
    for measure in reversed(quantity.measures):
        for value in probed.values:
            if value.measure == measure and value.domain in quantity.domains:
                chosen |= {} if value.value is None else {(value.domain, value.clip_id): value.value}
    return chosen


def change(outcomes: Sequence[Outcome], variant: str, quantity: Quantity) -> Estimate:
    """Of a variant against the base of the same seed, clip by clip: above 0 it became better."""
    seeds = seeds_of(outcomes, variant)
    return _mean(_better(outcomes, variant, quantity, seeds))


def lead(outcomes: Sequence[Outcome], variant: str, other: str, quantity: Quantity) -> Estimate:
    """By how much a variant is better than another, over the seeds that both have, clip by clip."""
    seeds = sorted(set(seeds_of(outcomes, variant)) & set(seeds_of(outcomes, other)))
    ours, theirs = (_better(outcomes, name, quantity, seeds) for name in (variant, other))
    return _mean(ours - theirs)


def kept(outcomes: Sequence[Outcome], variant: str, naive: str, quantity: Quantity) -> Estimate:
    """The variant's change as a share of that of the ``naive`` fine-tune, over the seeds that the variant has."""
    seeds = seeds_of(outcomes, variant)
    ours, theirs = (_better(outcomes, name, quantity, seeds) for name in (variant, naive))

    def share(rows: Chosen, columns: Chosen) -> float:
        at = np.ix_(rows, columns)
        return float(np.nanmean(ours[at]) / np.nanmean(theirs[at]))

    return estimate(ours.shape, share)


def _better(outcomes: Sequence[Outcome], variant: str, quantity: Quantity, seeds: Sequence[int]) -> Array:
    after, before = (values(outcomes, name, quantity, seeds) for name in (variant, BASE))
    return quantity.sign * (after - before)


def _mean(better: Array) -> Estimate:
    return estimate(better.shape, lambda rows, columns: float(np.nanmean(better[np.ix_(rows, columns)])))


def estimate(shape: tuple[int, ...], statistic: Callable[[Chosen, Chosen], float]) -> Estimate:
    """A statistic of chosen runs and clips: of all, and over resamples of both (Owen 2007, arXiv 0712.1111)."""
    rng = np.random.default_rng(0)
    runs, clips = shape
    drawn = [statistic(rng.integers(0, runs, runs), rng.integers(0, clips, clips)) for _ in range(RESAMPLES)]
    low, high = np.nanquantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(mean=statistic(np.arange(runs), np.arange(clips)), low=float(low), high=float(high))


def best(outcomes: Sequence[Outcome], variants: Iterable[Variant], quantity: Quantity) -> str:
    """The name of that of the variants which changes a quantity for the better most, or for the worse least."""
    return max(ran(outcomes, variants), key=lambda name: change(outcomes, name, quantity).mean)


def level(outcomes: Sequence[Outcome], variant: str, quantity: Quantity) -> float:
    """The mean itself, in the measure's unit; NaN where nothing was measured."""
    found = values(outcomes, variant, quantity, seeds_of(outcomes, variant))
    return float(np.nanmean(found)) if found.size else np.nan


def replayed(outcomes: Iterable[Outcome], variant: str) -> float:
    return float(np.mean([outcome.replayed for outcome in outcomes if outcome.variant == variant]))
