"""How much replay a run needs, found while it runs: forgetting moves the share."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from driveforge.datasets.errors import UserError


@dataclass(frozen=True, kw_only=True, slots=True)
class AdaptiveShare:
    """A controller with a dead band: it answers one probe at a time and remembers nothing.

    ``tolerance`` is how far the worst domain may fall behind the base. Beyond it the share grows by ``factor``; below
    half of it there is room, and the share shrinks by as much; in between it stays, so that a probe's noise does not
    rock it. It never leaves ``min_share`` to ``max_share``: from 0 no factor would lead back.
    """

    tolerance: float
    min_share: float = 0.02
    max_share: float = 0.75
    factor: float = 1.5

    def __post_init__(self) -> None:
        if not 0 < self.tolerance < math.inf:
            raise UserError(f"replay tolerance {self.tolerance} must be above 0")
        if not 0 < self.min_share <= self.max_share <= 1:
            raise UserError(f"the share's limits {self.min_share}, {self.max_share} must rise, above 0 and at most 1")

    def next_share(self, share: float, forgetting: Mapping[str, float]) -> float:
        """The share to go on with; ``forgetting`` by domain, relative to the base: above 0 is forgotten.

        A number that is not one counts as forgotten. A UserError where there is none at all.
        """
        if not forgetting:
            raise UserError("the probe measured no domain, so nothing can tell how much replay is needed")
        worst = max(math.inf if math.isnan(value) else value for value in forgetting.values())
        if worst > self.tolerance:
            share *= self.factor
        elif worst < self.tolerance / 2:
            share /= self.factor
        # Four digits: a share is written into checkpoints and logs, and means its decimal.
        return round(min(self.max_share, max(self.min_share, share)), 4)
