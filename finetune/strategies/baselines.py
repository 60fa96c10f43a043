"""Strategies that do not change the loss: they choose the samples, or interpolate weights after training."""

from pathlib import Path

from driveforge.finetune.strategies.interpolation import interpolate_weights
from driveforge.finetune.strategies.strategy import Strategy
from driveforge.finetune.world_model.families.registry import load_world_model
from driveforge.finetune.world_model.model import WorldModel


class Naive(Strategy):
    """Only driving samples: the lower bound."""

    name = "naive"


class Replay(Strategy):
    """Experience replay: a share of every batch comes from other domains (Chaudhry et al. 2019, arXiv 1902.10486).

    The batch plan sets the loss weight of replayed samples (for diffusion models Zajac et al. 2023, arXiv 2303.15342,
    found a reduced one to be best).
    """

    name = "replay"
    replay_mode = "share"


class Joint(Strategy):
    """Joint training: every sample of all pools once per epoch, the upper bound of the continual-learning literature.

    (Lopez-Paz & Ranzato 2017, arXiv 1706.08840, and most papers since, report it as "multi-task" or "joint".)
    """

    name = "joint"
    replay_mode = "proportional"
    needs_buffer = True


class Interpolate(Strategy):
    """Naive, then (1 - w) base + w tuned: WiSE-FT (Wortsman et al. 2022, arXiv 2109.01903); w is ``weight``.

    ``interpolation.find_best_alpha`` searches for a better w than the default, given a score.
    """

    name = "interpolate"
    default_weight = 0.5

    def finalize(self, tuned: WorldModel, base: Path) -> WorldModel:
        return interpolate_weights(load_world_model(base), tuned, self.weight)
