"""Frechet distance between two sets of clips in a feature space, with what chance alone makes of such sets.

The distance between the two normal distributions that have the sets' means and covariances (Dowson and Landau, 1982):
|m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^(1/2)). FID, FVD and FVMD are this, each with its own features.
"""

import numpy as np

from driveforge.datasets.errors import UserError
from driveforge.datasets.geometry import Array
from driveforge.validation.set_metrics.features import FeatureSet, require_comparable
from driveforge.validation.set_metrics.protocol import SetResult

MIN_CLIPS = 8
NUM_PERMUTATIONS = 99


def frechet(a: Array, b: Array) -> float:
    """Squared Frechet distance of samples ``(N, D)`` and ``(M, D)``; unit: that of the features, squared.

    With A and B the centerd samples over (N - 1)^(1/2), tr((C1 C2)^(1/2)) is the sum of the singular values of A B'.
    So neither a matrix root nor anything added to the diagonal is needed, however few samples there are.
    """
    if len(a) < 2 or len(b) < 2:
        raise UserError(f"a Frechet distance needs two samples on either side, got {len(a)} and {len(b)}")
    mean_a, mean_b = a.mean(0), b.mean(0)
    centerd_a, centerd_b = (a - mean_a) / np.sqrt(len(a) - 1), (b - mean_b) / np.sqrt(len(b) - 1)
    means = float(((mean_a - mean_b) ** 2).sum())
    variances = float((centerd_a**2).sum() + (centerd_b**2).sum())
    shared = float(np.linalg.svd(centerd_a @ centerd_b.T, compute_uv=False).sum())
    return max(means + variances - 2 * shared, 0.0)


def frechet_distance(
    reference: FeatureSet, other: FeatureSet, *, measure: str, seed: int = 0, num_permutations: int = NUM_PERMUTATIONS
) -> SetResult:
    """Squared Frechet distance of ``other`` to ``reference``; higher is worse, and by how much says ``null_median``.

    The distance of few samples is too large even between sets that do not differ, so it is told together with the
    median over ``num_permutations`` random exchanges of whole clips between the two, drawn by ``seed`` (0 leave
    that out: each costs as much as the distance itself). A UserError where the sets were taken under different
    protocols (their sizes too: the excess depends on them) or hold fewer than ``MIN_CLIPS``.
    """
    require_comparable(reference, other, measure)
    if len(reference) < MIN_CLIPS:
        raise UserError(
            f"{measure}: {len(reference)} clips a set are too few for a distribution; take {MIN_CLIPS} or more"
        )
    value = frechet(_samples(reference.values), _samples(other.values))
    null_distances = _permutation_distances(np.concatenate([reference.values, other.values]), num_permutations, seed)
    return SetResult(
        value=value,
        protocol=reference.protocol(measure, reference=reference.digest(), seed=seed),
        null_median=float(np.median(null_distances)) if len(null_distances) else None,
        p_value=float((1 + (null_distances >= value).sum()) / (1 + len(null_distances)))
        if len(null_distances)
        else None,
        warning=_sample_size_warning(reference),
    )


def num_clips_needed(features: FeatureSet) -> int:
    """The fewest clips whose covariance can have full rank: one more sample than there are numbers in one."""
    samples, numbers = features.values.shape[1:]
    return max(MIN_CLIPS, -(-(numbers + 1) // samples))


def _sample_size_warning(features: FeatureSet) -> str:
    needed = num_clips_needed(features)
    if len(features) >= needed:
        return ""
    return (
        f"{len(features)} clips cannot fill a space of {features.values.shape[-1]} numbers ({needed} can): the "
        "distance is too large, so hold it against by_chance and against distances of this protocol only"
    )


def _samples(values: Array) -> Array:
    return values.reshape(-1, values.shape[-1])


def _permutation_distances(values: Array, times: int, seed: int) -> Array:
    """Distances ``(times,)`` between random halves of all clips ``(2 N, S, D)``."""
    rng = np.random.default_rng(seed)
    half = len(values) // 2
    orders = [rng.permutation(len(values)) for _ in range(times)]
    return np.array([frechet(_samples(values[order[:half]]), _samples(values[order[half:]])) for order in orders])
