"""How far a mean over few clips may be off: an interval from resampled clips."""

import numpy as np

from driveforge.datasets.geometry import Array

RESAMPLES = 9999
_CHUNK = 2_000_000  # resampled numbers that are held at once


def ratio_interval(numerator: Array, denominator: Array, confidence: float, seed: int) -> tuple[float, float]:
    """Lower and upper bound of ``mean(numerator) / mean(denominator)`` over clips; both (N,), the denominator positive.

    Each bound holds at ``confidence`` by itself, so the two together at ``2 confidence - 1``. A bound is infinite where
    the clips cannot give one. With a denominator of ones this is the interval of a mean.

    Bootstrap-t (Efron 1982): resampled clips tell how many standard errors a mean is off, by the delta method for a
    ratio. The percentile and BCa intervals, which ``scipy.stats.bootstrap`` offers, are too short for a mean of few
    clips (Owen 2025, arXiv 2508.10083; measured in ``docs/decisions.md``).
    """
    count = len(numerator)
    estimate, error = (float(value[0]) for value in _ratios(numerator[None], denominator[None]))
    if error == 0 or count < 2:
        return (estimate, estimate) if count > 1 else (-np.inf, np.inf)
    generator, resampled = np.random.default_rng(seed), []
    for start in range(0, RESAMPLES, rows := max(1, _CHUNK // count)):
        chosen = generator.integers(0, count, (min(rows, RESAMPLES - start), count))
        ratio, spread = _ratios(numerator[chosen], denominator[chosen])
        deviation = ratio - estimate
        with np.errstate(divide="ignore", invalid="ignore"):
            # Resamples of equal clips have no spread: their error is as large as may be, unless they are right.
            errors = np.where(deviation == 0, 0.0, deviation / spread)
        resampled.append(np.nan_to_num(errors, nan=-np.inf, posinf=np.inf, neginf=-np.inf))
    low, high = np.quantile(np.concatenate(resampled), [1 - confidence, confidence], method="closest_observation")
    return estimate - float(high) * error, estimate - float(low) * error


def _ratios(numerator: Array, denominator: Array) -> tuple[Array, Array]:
    """Ratios of means (B,) of ``numerator`` and ``denominator`` (B, N), and their standard errors (B,)."""
    count, denominator_mean = numerator.shape[1], denominator.mean(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = numerator.mean(1) / denominator_mean
        residual = numerator - ratio[:, None] * denominator
        spread = np.sqrt((residual**2).sum(1) / max(count - 1, 1) / count) / denominator_mean
    # Rounding leaves a trace of spread where there is none.
    return ratio, np.where(spread > 1e-12 * np.abs(numerator).max(), spread, 0.0)
