"""Strategies that leave the loss as it is: they choose the samples, or mix the weights afterwards."""

from pathlib import Path

from driveforge.finetune.strategies.interpolation import interpolate_weights
from driveforge.finetune.strategies.strategy import Strategy
from driveforge.finetune.world_model.model import WorldModel


class Naive(Strategy):
    """Driving samples alone: the lower bound."""

    name = "naive"


class Replay(Strategy):
    """Experience replay: a share of every batch comes from other domains (Chaudhry et al. 2019, arXiv 1902.10486).

    The weight of replayed samples in the loss is the plan's (Zajac et al. 2023, arXiv 2303.15342, found that diffusion
    models want a reduced one).
    """

    name = "replay"
    replay_mode = "share"


class Joint(Strategy):
    """All samples of all pools alike, each once an epoch: the upper bound of the continual-learning literature.

    (Lopez-Paz & Ranzato 2017, arXiv 1706.08840, and most papers since, report it as "multi-task" or "joint".)
    """

    name = "joint"
    replay_mode = "proportional"
    needs_buffer = True


class Interpolate(Strategy):
    """Naive, then (1 - w) base + w tuned: WiSE-FT (Wortsman et al. 2022, arXiv 2109.01903); w is ``weight``.

    ``interpolation.find_best_alpha`` finds a better w than the usual one, given something that can tell.
    """

    name = "interpolate"
    default_weight = 0.5

    def finalize(self, tuned: WorldModel, base: Path) -> WorldModel:
        return interpolate_weights(WorldModel.from_pretrained(base), tuned, self.weight)
