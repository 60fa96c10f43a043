"""Frechet distance between two sets of clips in a feature space, with a permutation test.

The distance between the normal distributions with the means and covariances of the sets (Dowson and Landau, 1982):
|m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^(1/2)). FID, FVD and FVMD are this distance with different features.
"""

import math

import numpy as np

from driveforge.datasets.errors import UserError
from driveforge.datasets.geometry import Array
from driveforge.validation.set_metrics.features import FeatureSet, require_comparable
from driveforge.validation.set_metrics.protocol import SetResult

MIN_CLIPS = 8
NUM_PERMUTATIONS = 99


def frechet(a: Array, b: Array) -> float:
    """Squared Frechet distance of samples ``(N, D)`` and ``(M, D)``, in squared units of the features.

    With A and B the centered samples over (N - 1)^(1/2), tr((C1 C2)^(1/2)) is the sum of the singular values of A B'.
    This needs neither a matrix root nor a regularized diagonal, even for few samples.
    """
    if len(a) < 2 or len(b) < 2:
        raise UserError(f"a Frechet distance needs two samples on either side, got {len(a)} and {len(b)}")
    mean_a, mean_b = a.mean(0), b.mean(0)
    centered_a, centered_b = (a - mean_a) / np.sqrt(len(a) - 1), (b - mean_b) / np.sqrt(len(b) - 1)
    means = float(((mean_a - mean_b) ** 2).sum())
    variances = float((centered_a**2).sum() + (centered_b**2).sum())
    shared = float(np.linalg.svd(centered_a @ centered_b.T, compute_uv=False).sum())
    return max(means + variances - 2 * shared, 0.0)


def frechet_distance(
    reference: FeatureSet, other: FeatureSet, *, measure: str, seed: int = 0, num_permutations: int = NUM_PERMUTATIONS
) -> SetResult:
    """Squared Frechet distance of ``other`` to ``reference``; higher is worse, relative to ``null_median``.

    With few samples the distance is biased upward even between sets that do not differ, so the result includes the
    median over ``num_permutations`` random permutations of whole clips between both sets, drawn with ``seed`` (0 skips
    them; each costs as much as the distance itself). Raises UserError if the protocols of the sets differ (including
    their sizes, on which the bias depends) or if they have fewer than ``MIN_CLIPS`` clips.
    """
    require_comparable(reference, other, measure)
    if len(reference) < MIN_CLIPS:
        raise UserError(
            f"{measure}: {len(reference)} clips per set are too few for a distribution; use {MIN_CLIPS} or more"
        )
    value = frechet(_samples(reference.values), _samples(other.values))
    null_median, p_value = None, None
    if num_permutations > 0:
        both = np.concatenate([reference.values, other.values])
        null_distances = _permutation_distances(both, num_permutations, seed)
        null_median = float(np.median(null_distances))
        # The observed assignment counts as one permutation, so p is never 0.
        p_value = float((1 + (null_distances >= value).sum()) / (1 + len(null_distances)))
    return SetResult(
        value=value,
        protocol=reference.protocol(measure, reference=reference.digest(), seed=seed),
        null_median=null_median,
        p_value=p_value,
        warning=_sample_size_warning(reference),
    )


def num_clips_needed(features: FeatureSet) -> int:
    """The fewest clips with a covariance of full rank: one sample more than there are dimensions."""
    num_samples, num_dimensions = features.values.shape[1:]
    return max(MIN_CLIPS, math.ceil((num_dimensions + 1) / num_samples))


def _sample_size_warning(features: FeatureSet) -> str:
    needed = num_clips_needed(features)
    if len(features) >= needed:
        return ""
    return (
        f"{len(features)} clips are too few for {features.values.shape[-1]} dimensions ({needed} are enough): the "
        "distance is biased upward, so compare it only with null_median and with distances of this protocol"
    )


def _samples(values: Array) -> Array:
    return values.reshape(-1, values.shape[-1])


def _permutation_distances(values: Array, times: int, seed: int) -> Array:
    """Distances ``(times,)`` between random halves of all clips ``(2 N, S, D)``."""
    rng = np.random.default_rng(seed)
    half = len(values) // 2
    orders = [rng.permutation(len(values)) for _ in range(times)]
    return np.array([frechet(_samples(values[order[:half]]), _samples(values[order[half:]])) for order in orders])
