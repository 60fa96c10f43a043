"""Strategies that hold the weights back, with no replay sample in a batch."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from driveforge.datasets.errors import UserError
from driveforge.finetune.strategies.fisher import diagonal_fisher, main_direction, stored_estimate
from driveforge.finetune.strategies.strategy import Ground, Prediction, Strategy
from driveforge.finetune.strategies.weight_delta import Weights, displacement, trained_weights
from driveforge.finetune.world_model.model import WorldModel
from driveforge.replay.buffer import ReplayBuffer


class L2Start(Strategy):
    """L2-SP: weight / 2 * |W - W_0|^2 (Li, Grandvalet & Davoine 2018, arXiv 1802.01483, equation 2).

    Under LoRA, W - W_0 is the product B A for the adapted weights; see ``start.displacement``.
    """

    name = "l2sp"
    usual_weight = 0.05

    _start: Weights

    def prepare(self, ground: Ground) -> None:
        self._start = trained_weights(ground.model)

    def terms(self, model: WorldModel, batch: Mapping[str, Any], prediction: Prediction) -> dict[str, Tensor]:
        moved = displacement(model, self._start)
        return {self.name: self.weight / 2 * _total(value.square().sum() for value in moved.values())}


class _Consolidation(L2Start):
    """A pull towards the start that knows from replay samples which directions matter."""

    needs_buffer = True

    _known: Weights

    def estimate(self, ground: Ground, replay: ReplayBuffer) -> Weights:
        """What replay samples say about the movable weights of the base, by their names."""
        raise NotImplementedError

    def prepare(self, ground: Ground) -> None:
        super().prepare(ground)
        if ground.replay is None:
            raise UserError(f"finetune.strategy={self.name} needs replay samples to tell which weights matter")
        self._known = stored_estimate(ground, ground.replay, self.name, self.estimate)


class Ewc(_Consolidation):
    """EWC: weight / 2 * sum_k F_k (W - W_0)_k^2 (Kirkpatrick et al. 2017, arXiv 1612.00796, equation 3).

    F is the diagonal of the empirical Fisher, the mean of squared gradients of single samples' flow losses.
    """

    name = "ewc"
    usual_weight = 1e6

    def estimate(self, ground: Ground, replay: ReplayBuffer) -> Weights:
        return diagonal_fisher(ground, replay)

    def terms(self, model: WorldModel, batch: Mapping[str, Any], prediction: Prediction) -> dict[str, Tensor]:
        moved = displacement(model, self._start)
        bent = ((self._known[name].to(value) * value.square()).sum() for name, value in moved.items())
        return {self.name: self.weight / 2 * _total(bent)}


class EwcRank1(_Consolidation):
    """EWC with a Fisher of rank one: weight / 2 * (v . (W - W_0))^2 (Wang et al. 2025, arXiv 2509.23593).

    v v^T = c g g^T, where g is the mean gradient and c = E[(g . g_i)^2] / |g|^4 the coefficient that fits the empirical
    Fisher best along it: at low signal-to-noise the gradients of single samples are nearly collinear.
    """

    name = "ewc-rank1"
    usual_weight = 1e5

    def estimate(self, ground: Ground, replay: ReplayBuffer) -> Weights:
        return main_direction(ground, replay)

    def terms(self, model: WorldModel, batch: Mapping[str, Any], prediction: Prediction) -> dict[str, Tensor]:
        moved = displacement(model, self._start)
        along = _total((self._known[name].to(value) * value).sum() for name, value in moved.items())
        return {self.name: self.weight / 2 * along.square()}


def _total(values: Any) -> Tensor:
    return torch.stack(list(values)).sum()
