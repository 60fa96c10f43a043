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
class RunningMean:
    """Of all samples that were offered: how many, and the sum ``(D,)`` of what the policy looks at."""

    count: int
    total: Features

    @property
    def mean(self) -> Features:
        return self.total / self.count

    def add(self, features: Features) -> "RunningMean":
        return RunningMean(count=self.count + 1, total=self.total + features)


class RetentionPolicy(Protocol):
    """A policy in two pure functions: what is looked at of one sample, and whom that lets stay.

    Where ``is_hash_based`` is True the choice is the first of the candidates, so whoever ranks lower can go at once.
    """

    @property
    def is_hash_based(self) -> bool: ...

    def extract_features(self, sample: LatentSample, /) -> Features:
        """``(D,)``; a UserError naming the clip that lacks what is looked at."""
        ...

    def select(self, features: Features, mean: Features, quota: int, /) -> NDArray[np.int64]:
        """At most ``quota`` rows of ``features`` ``(n, D)``, whose order is as good as random and always the same.

        ``mean`` ``(D,)`` is over all samples that were ever offered.
        """
        ...


@dataclass(frozen=True, slots=True)
class RandomRetention:
    """A uniform random subset of all that was offered; beats choice by similarity (arXiv 2509.10529)."""

    is_hash_based: bool = True

    def extract_features(self, sample: LatentSample, /) -> Features:
        return np.empty(0)

    def select(self, features: Features, mean: Features, quota: int, /) -> NDArray[np.int64]:
        return np.arange(min(quota, len(features)))


@dataclass(frozen=True, slots=True)
class LossRetention:
    """Those of the highest score, such as the loss of a model; it is the number in the sample's ``origin``."""

    is_hash_based: bool = False

    def extract_features(self, sample: LatentSample, /) -> Features:
        try:
            score = float(sample.origin["score"])
        except (KeyError, ValueError):
            score = math.nan
        if not math.isfinite(score):
            raise UserError(f"clip {sample.clip_id}: has no finite score, which a buffer that keeps by loss goes by")
        return np.array([score])

    def select(self, features: Features, mean: Features, quota: int, /) -> NDArray[np.int64]:
        return np.sort(np.argsort(-features[:, 0], kind="stable")[:quota])


@dataclass(frozen=True, slots=True)
class HerdingRetention:
    """Those whose mean latents together come nearest to the mean of all that was offered."""

    is_hash_based: bool = False

    def extract_features(self, sample: LatentSample, /) -> Features:
        if "latents" not in sample.tensors:
            raise UserError(f"clip {sample.clip_id}: has no latents, of which herding takes the mean")
        return np.asarray(sample.tensors["latents"].double().flatten(1).mean(1).numpy())

    def select(self, features: Features, mean: Features, quota: int, /) -> NDArray[np.int64]:
        return np.sort(select_by_herding(features, mean, quota))


def select_by_herding(features: Features, mean: Features, count: int) -> NDArray[np.int64]:
    """Rows of ``features`` ``(n, D)``, best first: each brings the mean of those before it nearest to ``mean``.

    Herding (Welling, ICML 2009) as iCaRL chooses exemplars (Rebuffi et al., CVPR 2017, algorithm 4): the k-th is
    argmin_x |mean - (f(x) + sum of f over those before) / k|, none twice. Takes count * n * D operations.
    """
    squared_norms = (features**2).sum(1)
    is_free = np.ones(len(features), bool)
    chosen = np.empty(min(count, len(features)), np.int64)
    target_sum = np.zeros_like(mean)
    for k in range(len(chosen)):
        target_sum = target_sum + mean
        # |missing - f|^2 without the part that is the same for all.
        distances = np.where(is_free, squared_norms - 2 * features @ target_sum, np.inf)
        chosen[k] = np.argmin(distances)
        is_free[chosen[k]] = False
        target_sum = target_sum - features[chosen[k]]
    return chosen


RETENTION_POLICIES: dict[str, RetentionPolicy] = {
    "random": RandomRetention(),
    "herding": HerdingRetention(),
    "loss": LossRetention(),
}
