"""A learning-rate schedule over wall-clock time, which ends annealed however fast the machine is."""

import math
import time
from collections.abc import Callable, Iterator

# Part of the time at the peak learning rate, before the cosine.
_CONSTANT_PART = 0.5
# Of the peak, at the end.
FINAL_FACTOR = 0.002


def learning_rate_factor(progress: float, step: int, warmup_steps: int) -> float:
    """The factor of the peak learning rate at ``progress`` (0 to 1) of the time: warm-up by steps, constant, cosine."""
    warmup = min(1.0, (step + 1) / max(1, warmup_steps))
    fall = max(0.0, (progress - _CONSTANT_PART) / (1 - _CONSTANT_PART))
    return warmup * max(FINAL_FACTOR, 0.5 * (1 + math.cos(math.pi * min(1.0, fall))))


def timed_steps(
    budget_s: float, elapsed_s: float = 0.0, now: Callable[[], float] = time.monotonic
) -> Iterator[tuple[float, float]]:
    """Yield (elapsed s, progress) for every optimizer step within ``budget_s``; ``elapsed_s`` have passed already.

    The progress is that expected at the end of the step, and exactly 1 in the last step, which may exceed the time.
    """
    start = now() - elapsed_s
    progress, step_s = 0.0, 0.0
    while (elapsed := now() - start) < budget_s:
        progress = min(1.0, (elapsed + step_s) / budget_s)
        yield elapsed, progress
        step_s = now() - start - elapsed
    if progress < 1:
        yield elapsed, 1.0
