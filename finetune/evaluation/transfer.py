"""Backward transfer and forgetting, as continual learning defines them, over a sequence of models."""

from collections.abc import Sequence

import numpy as np

from driveforge.datasets.geometry import Array


def backward_transfer(scores: Array, learned_at: Sequence[int]) -> float:
    """How much better the last model is in earlier domains than the one that had just learnt them; below 0: worse.

    ``scores`` (K, D) are of K models in D domains, more is better; ``learned_at`` (D,) is the model that learnt a domain.
    BWT = 1/(T-1) sum_{i<T} R[T,i] - R[i,i] (Lopez-Paz and Ranzato 2017, arXiv 1706.08840), for tasks learnt at will.
    """
    earlier = _previously_learned_domains(scores, learned_at)
    return float(np.mean([scores[-1, d] - scores[learned_at[d], d] for d in earlier]))


def forgetting(scores: Array, learned_at: Sequence[int]) -> float:
    """How much better the best model before the last was in earlier domains than the last one; below 0: none was.

    F = 1/(k-1) sum_{j<k} max_{l<k} a[l,j] - a[k,j] (Chaudhry et al. 2018, arXiv 1801.10112); arguments as above.
    """
    earlier = _previously_learned_domains(scores, learned_at)
    return float(np.mean([scores[:-1, d].max() - scores[-1, d] for d in earlier]))


def _previously_learned_domains(scores: Array, learned_at: Sequence[int]) -> list[int]:
    """The domains that were learnt before the last model."""
    models, domains = scores.shape
    if len(learned_at) != domains or not all(0 <= model < models for model in learned_at):
        raise ValueError(
            f"learned_at must name one of {models} models for each of {domains} domains, got {list(learned_at)}"
        )
    earlier = [domain for domain in range(domains) if learned_at[domain] < models - 1]
    if not earlier:
        raise ValueError("no domain was learned before the last model: there is nothing to forget")
    return earlier
