"""A replay share that follows the measured forgetting."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from driveforge.datasets.errors import UserError


@dataclass(frozen=True, kw_only=True, slots=True)
class AdaptiveShare:
    """A stateless controller with a dead band, called once per evaluation.

    ``tolerance`` is the allowed forgetting of the worst domain relative to the base. Above it the share grows by
    ``factor``; below half of it the share shrinks by ``factor``; in between it does not change, so that evaluation
    noise does not move it. The share stays within ``min_share`` and ``max_share``: it could never grow again from 0.
    """

    tolerance: float
    min_share: float = 0.02
    max_share: float = 0.75
    factor: float = 1.5

    def __post_init__(self) -> None:
        if not 0 < self.tolerance < math.inf:
            raise UserError(f"replay tolerance {self.tolerance} must be above 0")
        if not 0 < self.min_share <= self.max_share <= 1:
            raise UserError(
                f"min_share {self.min_share} and max_share {self.max_share} must satisfy "
                "0 < min_share <= max_share <= 1"
            )

    def next_share(self, share: float, forgetting: Mapping[str, float]) -> float:
        """The next share, given the ``forgetting`` of each domain relative to the base (positive: worse than the base).

        NaN counts as forgotten. Raises UserError if there are no domains.
        """
        if not forgetting:
            raise UserError("the evaluation measured no domain, so an adaptive replay share cannot be set")
        worst = max(math.inf if math.isnan(value) else value for value in forgetting.values())
        if worst > self.tolerance:
            share *= self.factor
        elif worst < self.tolerance / 2:
            share /= self.factor
        # Rounded, because checkpoints and logs store the share as a decimal that must be exact.
        return round(min(self.max_share, max(self.min_share, share)), 4)
