"""The confidence interval of a proportion."""


def wilson_interval(count: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """The interval of a proportion from ``count`` events in ``total`` > 0 trials (Wilson 1927)."""
    from scipy.stats import binomtest

    interval = binomtest(count, total).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)
