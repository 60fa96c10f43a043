"""Retention policies: which samples of a domain are kept if there are more than its quota."""

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
    """The mean features of all samples that were ever added: their ``count`` and sum ``total`` ``(D,)``."""

    count: int
    total: Features

    @property
    def mean(self) -> Features:
        return self.total / self.count

    def add(self, features: Features) -> "RunningMean":
        return RunningMean(count=self.count + 1, total=self.total + features)


class RetentionPolicy(Protocol):
    """A policy in two pure functions: the features of one sample, and the selection by the features of all.

    If ``is_hash_based``, the selection is always the first candidates in order of rank, so that samples beyond the
    quota can be evicted at once.
    """

    @property
    def is_hash_based(self) -> bool: ...

    def extract_features(self, sample: LatentSample, /) -> Features:
        """Features ``(D,)``. Raises UserError that names the clip if it lacks what they are computed from."""
        ...

    def select(self, features: Features, mean: Features, quota: int, /) -> NDArray[np.int64]:
        """At most ``quota`` rows of ``features`` ``(n, D)``, which are in order of increasing rank.

        ``mean`` ``(D,)`` is over all samples that were ever added.
        """
        ...


@dataclass(frozen=True, slots=True)
class RandomRetention:
    """A uniform random subset of all added samples; better than selection by similarity (arXiv 2509.10529)."""

    is_hash_based: bool = True

    def extract_features(self, sample: LatentSample, /) -> Features:
        return np.empty(0)

    def select(self, features: Features, mean: Features, quota: int, /) -> NDArray[np.int64]:
        return np.arange(min(quota, len(features)))


@dataclass(frozen=True, slots=True)
class LossRetention:
    """The samples with the highest ``score`` in their origin, for example the loss of a model."""

    is_hash_based: bool = False

    def extract_features(self, sample: LatentSample, /) -> Features:
        try:
            score = float(sample.origin["score"])
        except (KeyError, ValueError):
            score = math.nan
        if not math.isfinite(score):
            raise UserError(f"clip {sample.clip_id}: has no finite score, which loss retention needs")
        return np.array([score])

    def select(self, features: Features, mean: Features, quota: int, /) -> NDArray[np.int64]:
        return np.sort(np.argsort(-features[:, 0], kind="stable")[:quota])


@dataclass(frozen=True, slots=True)
class HerdingRetention:
    """The samples whose mean latents best approximate the mean of all added samples."""

    is_hash_based: bool = False

    def extract_features(self, sample: LatentSample, /) -> Features:
        if "latents" not in sample.tensors:
            raise UserError(f"clip {sample.clip_id}: has no latents, which herding retention needs")
        return np.asarray(sample.tensors["latents"].double().flatten(1).mean(1).numpy())

    def select(self, features: Features, mean: Features, quota: int, /) -> NDArray[np.int64]:
        return np.sort(select_by_herding(features, mean, quota))


def select_by_herding(features: Features, mean: Features, count: int) -> NDArray[np.int64]:
    """Rows of ``features`` ``(n, D)``, best first: each brings the mean of the selected rows closest to ``mean``.

    Herding (Welling, ICML 2009) as iCaRL selects exemplars (Rebuffi et al., CVPR 2017, algorithm 4): the k-th row is
    argmin_x |mean - (f(x) + sum of f over the rows before) / k|, without repetition. Takes count * n * D operations.
    """
    squared_norms = (features**2).sum(1)
    is_free = np.ones(len(features), bool)
    chosen = np.empty(min(count, len(features)), np.int64)
    target_sum = np.zeros_like(mean)
    for k in range(len(chosen)):
        # k |mean - (f + selected) / k| = |target_sum - f|, where target_sum = k * mean - (sum of the selected rows).
        target_sum = target_sum + mean
        # |target_sum - f|^2 without |target_sum|^2, which is the same for all rows.
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
