"""Strategies that penalize the distance from the initial weights; no replay sample is in a batch."""

from collections.abc import Iterable

import torch
from torch import Tensor

from driveforge.datasets.errors import UserError
from driveforge.finetune.strategies.fisher import (
    estimate_diagonal_fisher,
    estimate_principal_direction,
    load_or_estimate,
)
from driveforge.finetune.strategies.strategy import Prediction, Strategy, StrategyContext
from driveforge.finetune.strategies.weight_delta import Weights, compute_weight_delta, copy_trainable_weights
from driveforge.finetune.world_model.model import WorldModel
from driveforge.replay.buffer import ReplayBuffer
from driveforge.replay.dataset import Batch


class L2SP(Strategy):
    """L2-SP: weight / 2 * |W - W_0|^2 (Li, Grandvalet & Davoine 2018, arXiv 1802.01483, equation 2).

    Under LoRA, W - W_0 is the product B A for the adapted weights; see ``weight_delta.compute_weight_delta``.
    """

    name = "l2sp"
    needs_whole_model = True
    default_weight = 0.05

    _initial_weights: Weights

    def prepare(self, context: StrategyContext) -> None:
        self._initial_weights = copy_trainable_weights(context.model)

    def loss_terms(self, model: WorldModel, batch: Batch, prediction: Prediction) -> dict[str, Tensor]:
        delta = compute_weight_delta(model, self._initial_weights)
        return {self.name: self.weight / 2 * _sum(value.square().sum() for value in delta.values())}


class _Consolidation(L2SP):
    """A penalty whose ``_importance`` of each weight is estimated from replay samples."""

    needs_buffer = True

    _importance: Weights

    def estimate(self, context: StrategyContext, replay: ReplayBuffer) -> Weights:
        """The importance of the base's effective weights, by name."""
        raise NotImplementedError

    def prepare(self, context: StrategyContext) -> None:
        super().prepare(context)
        if context.replay is None:
            raise UserError(f"finetune.strategy={self.name} needs replay samples to estimate which weights matter")
        self._importance = load_or_estimate(context, context.replay, self.name, self.estimate)


class Ewc(_Consolidation):
    """EWC: weight / 2 * sum_k F_k (W - W_0)_k^2 (Kirkpatrick et al. 2017, arXiv 1612.00796, equation 3).

    F is the diagonal of the empirical Fisher: the mean over samples of the squared gradient of the flow loss.
    """

    name = "ewc"
    default_weight = 1e6

    def estimate(self, context: StrategyContext, replay: ReplayBuffer) -> Weights:
        return estimate_diagonal_fisher(context, replay)

    def loss_terms(self, model: WorldModel, batch: Batch, prediction: Prediction) -> dict[str, Tensor]:
        delta = compute_weight_delta(model, self._initial_weights)
        weighted_squares = ((self._importance[name].to(value) * value.square()).sum() for name, value in delta.items())
        return {self.name: self.weight / 2 * _sum(weighted_squares)}


class EwcRank1(_Consolidation):
    """EWC with a Fisher of rank one: weight / 2 * (v . (W - W_0))^2 (Wang et al. 2025, arXiv 2509.23593).

    v v^T = c g g^T, where g is the mean gradient and c = E[(g . g_i)^2] / |g|^4 the coefficient that fits the empirical
    Fisher best along it: at low signal-to-noise the gradients of single samples are nearly collinear.
    """

    name = "ewc-rank1"
    default_weight = 1e5

    def estimate(self, context: StrategyContext, replay: ReplayBuffer) -> Weights:
        return estimate_principal_direction(context, replay)

    def loss_terms(self, model: WorldModel, batch: Batch, prediction: Prediction) -> dict[str, Tensor]:
        delta = compute_weight_delta(model, self._initial_weights)
        projection = _sum((self._importance[name].to(value) * value).sum() for name, value in delta.items())
        return {self.name: self.weight / 2 * projection.square()}


def _sum(values: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(values)).sum()
