"""The confidence interval of a proportion."""


def wilson_interval(count: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a proportion from ``count`` events in ``total`` > 0 trials (Wilson 1927)."""
    from scipy.stats import binomtest

    interval = binomtest(count, total).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)
