"""Confidence intervals of means and ratios of means over few clips, by the bootstrap."""

import numpy as np

from driveforge.datasets.geometry import Array

RESAMPLES = 9999
_CHUNK = 2_000_000  # resampled values in memory at a time


def ratio_interval(numerator: Array, denominator: Array, confidence: float, seed: int) -> tuple[float, float]:
    """Lower and upper bound of ``mean(numerator) / mean(denominator)`` over clips; both (N,), the denominator positive.

    Each bound holds at ``confidence``, so both together hold at ``2 confidence - 1``. A bound is infinite if the clips
    are too few for one. With a denominator of ones this is the interval of a mean.

    Bootstrap-t (Efron 1982), with the standard error of a ratio by the delta method. The percentile and BCa intervals
    of ``scipy.stats.bootstrap`` are too short for a mean of few clips (Owen 2025, arXiv 2508.10083; measured in
    ``docs/decisions.md``).
    """
    count = len(numerator)
    estimate, error = (float(value[0]) for value in _ratios(numerator[None], denominator[None]))
    if count < 2:
        return -np.inf, np.inf
    if error == 0:
        return estimate, estimate
    generator, t_values = np.random.default_rng(seed), []
    chunk = max(1, _CHUNK // count)
    for start in range(0, RESAMPLES, chunk):
        chosen = generator.integers(0, count, (min(chunk, RESAMPLES - start), count))
        ratio, spread = _ratios(numerator[chosen], denominator[chosen])
        deviation = ratio - estimate
        with np.errstate(divide="ignore", invalid="ignore"):
            # A resample of equal clips has a standard error of 0, so its t is infinite unless it equals the estimate.
            t = np.where(deviation == 0, 0.0, deviation / spread)
        t_values.append(np.nan_to_num(t, nan=-np.inf, posinf=np.inf, neginf=-np.inf))
    low, high = np.quantile(np.concatenate(t_values), [1 - confidence, confidence], method="closest_observation")
    # The bounds swap sides: resamples far above the estimate mean that the estimate may be far above the true value.
    return estimate - float(high) * error, estimate - float(low) * error


def _ratios(numerator: Array, denominator: Array) -> tuple[Array, Array]:
    """Ratios of means (B,) of ``numerator`` and ``denominator`` (B, N), and their standard errors (B,)."""
    count, denominator_mean = numerator.shape[1], denominator.mean(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = numerator.mean(1) / denominator_mean
        residual = numerator - ratio[:, None] * denominator
        spread = np.sqrt((residual**2).sum(1) / max(count - 1, 1) / count) / denominator_mean
    # Rounding errors leave a small spread where the exact one is zero.
    return ratio, np.where(spread > 1e-12 * np.abs(numerator).max(), spread, 0.0)
