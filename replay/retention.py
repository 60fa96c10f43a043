"""Which samples of a domain stay where there are more than its quota."""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.errors import UserError
from driveforge.datasets.latents.shards import LatentSample

Features = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Tally:
    """Of all samples that were offered: how many, and the sum ``(D,)`` of what the policy looks at."""

    count: int
    total: Features

    @property
    def mean(self) -> Features:
        return self.total / self.count

    def add(self, described: Features) -> "Tally":
        return Tally(count=self.count + 1, total=self.total + described)


class Keeping(Protocol):
    """A policy in two pure functions: what is looked at of one sample, and whom that lets stay.

    Where ``by_hash`` is True the choice is the first of the candidates, so whoever ranks lower can go at once.
    """

    @property
    def by_hash(self) -> bool: ...

    def describe(self, sample: LatentSample, /) -> Features:
        """``(D,)``; a UserError naming the clip that lacks what is looked at."""
        ...

    def choose(self, described: Features, mean: Features, quota: int, /) -> NDArray[np.int64]:
        """At most ``quota`` rows of ``described`` ``(n, D)``, whose order is as good as random and always the same.

        ``mean`` ``(D,)`` is over all samples that were ever offered.
        """
        ...


@dataclass(frozen=True, slots=True)
class RandomKeeping:
    """A uniform random subset of all that was offered; beats choice by similarity (arXiv 2509.10529)."""

    by_hash: bool = True

    def describe(self, sample: LatentSample, /) -> Features:
        return np.empty(0)

    def choose(self, described: Features, mean: Features, quota: int, /) -> NDArray[np.int64]:
        return np.arange(min(quota, len(described)))


@dataclass(frozen=True, slots=True)
class LossKeeping:
    """Those of the highest score, such as the loss of a model; it is the number in the sample's ``origin``."""

    by_hash: bool = False

    def describe(self, sample: LatentSample, /) -> Features:
        try:
            score = float(sample.origin["score"])
        except (KeyError, ValueError):
            score = math.nan
        if not math.isfinite(score):
            raise UserError(f"clip {sample.clip_id}: has no finite score, which a buffer that keeps by loss goes by")
        return np.array([score])

    def choose(self, described: Features, mean: Features, quota: int, /) -> NDArray[np.int64]:
        return np.sort(np.argsort(-described[:, 0], kind="stable")[:quota])


@dataclass(frozen=True, slots=True)
class HerdingKeeping:
    """Those whose mean latents together come nearest to the mean of all that was offered."""

    by_hash: bool = False

    def describe(self, sample: LatentSample, /) -> Features:
        if "latents" not in sample.tensors:
            raise UserError(f"clip {sample.clip_id}: has no latents, of which herding takes the mean")
        return np.asarray(sample.tensors["latents"].double().flatten(1).mean(1).numpy())

    def choose(self, described: Features, mean: Features, quota: int, /) -> NDArray[np.int64]:
        return np.sort(herded(described, mean, quota))


def herded(features: Features, mean: Features, count: int) -> NDArray[np.int64]:
    """Rows of ``features`` ``(n, D)``, best first: each brings the mean of those before it nearest to ``mean``.

    Herding (Welling, ICML 2009) as iCaRL chooses exemplars (Rebuffi et al., CVPR 2017, algorithm 4): the k-th is
    argmin_x |mean - (f(x) + sum of f over those before) / k|, none twice. Takes count * n * D operations.
    """
    lengths = (features**2).sum(1)
    is_free = np.ones(len(features), bool)
    chosen = np.empty(min(count, len(features)), np.int64)
    missing = np.zeros_like(mean)
    for k in range(len(chosen)):
        missing = missing + mean
        # |missing - f|^2 without the part that is the same for all.
        distances = np.where(is_free, lengths - 2 * features @ missing, np.inf)
        chosen[k] = np.argmin(distances)
        is_free[chosen[k]] = False
        missing = missing - features[chosen[k]]
    return chosen


KEEPINGS: dict[str, Keeping] = {"random": RandomKeeping(), "herding": HerdingKeeping(), "loss": LossKeeping()}
