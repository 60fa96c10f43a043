"""What the runs of the forgetting study come to: changes against the base, what is given back, and how sure it is."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datasets.geometry import Array
from finetune.forgetting.paired import sign_of
from finetune.probe.record import Probed
from finetune.world_model import OTHER_DOMAINS
from pipelines.forgetting_study.ground import DRIVING
from pipelines.forgetting_study.runs import Outcome
from pipelines.forgetting_study.variants import BASE, NAIVE

Chosen = NDArray[np.int64]

RESAMPLES = 2000
CONFIDENCE = 0.95
# Objects that move by themselves; where a domain has none, those that the camera moves past.
OBJECT_ERROR = ("mover/ade", "standing/ade")


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantity:
    """One number a clip: the first of ``measures`` that could be taken. Its change is the better the higher."""

    words: str
    measures: tuple[str, ...]
    domains: tuple[str, ...]

    @property
    def sign(self) -> int:
        return sign_of(self.measures[0])


VISUAL = Quantity(words="driving, PSNR of the next frame, dB", measures=("next/psnr",), domains=(DRIVING,))
DYNAMICS = Quantity(words="other domains, object error, px", measures=OBJECT_ERROR, domains=OTHER_DOMAINS)
QUANTITIES = (
    VISUAL,
    Quantity(words="driving, loss at the highest noise", measures=("loss/predict/0.75-1/all",), domains=(DRIVING,)),
    Quantity(words="driving, SSIM of the next frame", measures=("next/ssim",), domains=(DRIVING,)),
    Quantity(words="driving, object error, px", measures=OBJECT_ERROR, domains=(DRIVING,)),
    DYNAMICS,
    *(
        Quantity(words=f"{domain}, object error, px", measures=OBJECT_ERROR, domains=(domain,))
        for domain in OTHER_DOMAINS
    ),
    Quantity(
        words="other domains, objects still there",
        measures=("mover/permanence", "standing/permanence"),
        domains=OTHER_DOMAINS,
    ),
    Quantity(
        words="other domains, loss where things move", measures=("loss/predict/0.75-1/moving",), domains=OTHER_DOMAINS
    ),
    Quantity(words="other domains, PSNR of the next frame, dB", measures=("next/psnr",), domains=OTHER_DOMAINS),
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
    better = _better(outcomes, variant, quantity, seeds)
    return estimate(better.shape, lambda rows, columns: float(np.nanmean(better[np.ix_(rows, columns)])))


def kept(outcomes: Sequence[Outcome], variant: str, quantity: Quantity) -> Estimate:
    """The variant's change as a share of the naive fine-tune's, over the seeds that both have."""
    seeds = seeds_of(outcomes, variant)
    ours, naive = (_better(outcomes, name, quantity, seeds) for name in (variant, NAIVE))

    def share(rows: Chosen, columns: Chosen) -> float:
        at = np.ix_(rows, columns)
        return float(np.nanmean(ours[at]) / np.nanmean(naive[at]))

    return estimate(ours.shape, share)


def _better(outcomes: Sequence[Outcome], variant: str, quantity: Quantity, seeds: Sequence[int]) -> Array:
    after, before = (values(outcomes, name, quantity, seeds) for name in (variant, BASE))
    return quantity.sign * (after - before)


def estimate(shape: tuple[int, ...], statistic: Callable[[Chosen, Chosen], float]) -> Estimate:
    """A statistic of chosen runs and clips: of all, and over resamples of both (Owen 2007, arXiv 0712.1111)."""
    rng = np.random.default_rng(0)
    runs, clips = shape
    drawn = [statistic(rng.integers(0, runs, runs), rng.integers(0, clips, clips)) for _ in range(RESAMPLES)]
    low, high = np.nanquantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(mean=statistic(np.arange(runs), np.arange(clips)), low=float(low), high=float(high))


def level(outcomes: Sequence[Outcome], variant: str, quantity: Quantity) -> float:
    """The mean itself, in the measure's unit; NaN where nothing was measured."""
    found = values(outcomes, variant, quantity, seeds_of(outcomes, variant))
    return float(np.nanmean(found)) if found.size else np.nan


def replayed(outcomes: Iterable[Outcome], variant: str) -> float:
    return float(np.mean([outcome.replayed for outcome in outcomes if outcome.variant == variant]))
