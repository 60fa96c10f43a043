"""Backward transfer and forgetting over a sequence of models, as defined in continual learning."""

from collections.abc import Sequence

import numpy as np

from driveforge.datasets.geometry import Array


def backward_transfer(scores: Array, learned_at: Sequence[int]) -> float:
    """The mean score of the last model in earlier domains minus that of the model that learned them; below 0: worse.

    ``scores`` (K, D) are of K models in D domains, higher is better; ``learned_at`` (D,) is the model that learned a
    domain. BWT = 1/(T-1) sum_{i<T} R[T,i] - R[i,i] (Lopez-Paz and Ranzato 2017, arXiv 1706.08840), with ``learned_at``
    in place of the order of tasks.
    """
    earlier = _previously_learned_domains(scores, learned_at)
    return float(np.mean([scores[-1, d] - scores[learned_at[d], d] for d in earlier]))


def forgetting(scores: Array, learned_at: Sequence[int]) -> float:
    """The mean of the best earlier score minus that of the last model in earlier domains; below 0: it improved.

    F = 1/(k-1) sum_{j<k} max_{l<k} a[l,j] - a[k,j] (Chaudhry et al. 2018, arXiv 1801.10112); arguments as in
    ``backward_transfer``.
    """
    earlier = _previously_learned_domains(scores, learned_at)
    return float(np.mean([scores[:-1, d].max() - scores[-1, d] for d in earlier]))


def _previously_learned_domains(scores: Array, learned_at: Sequence[int]) -> list[int]:
    """The domains that were learned before the last model."""
    models, domains = scores.shape
    if len(learned_at) != domains or not all(0 <= model < models for model in learned_at):
        raise ValueError(
            f"learned_at must name one of {models} models for each of {domains} domains, got {list(learned_at)}"
        )
    earlier = [domain for domain in range(domains) if learned_at[domain] < models - 1]
    if not earlier:
        raise ValueError(f"learned_at has no domain from before the last of {models} models, got {list(learned_at)}")
    return earlier
