"""Replay, with the base as a teacher."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from driveforge.finetune.strategies.distillation_loss import select_samples, velocity_mse
from driveforge.finetune.strategies.strategy import Prediction, Strategy, StrategyContext
from driveforge.finetune.strategies.weight_delta import Weights, copy_trainable_weights
from driveforge.finetune.world_model.model import WorldModel


class Distill(Strategy):
    """On replayed samples the velocity is also to match that of the frozen base, at the same noise and noise level.

    loss = mean of flow losses + weight / B * sum over replayed i of |v(x_i, sigma_i) - v_base(x_i, sigma_i)|^2

    Learning without Forgetting (Li & Hoiem 2016, arXiv 1606.09282) as velocity matching; the frozen copy at the same
    noise and time is DomainShuttle's (2026, arXiv 2606.26058). With ``replay.loss_weight=0`` it stands instead of the
    flow loss on replayed samples. The teacher is the model itself with its trained weights as they were at the start:
    under LoRA that is the adapter without effect, so only adapter and embeddings are kept twice.
    """

    name = "replay+distill"
    replay_mode = "share"
    default_weight = 1.0

    _initial_weights: Weights

    def prepare(self, context: StrategyContext) -> None:
        self._initial_weights = copy_trainable_weights(context.model)

    def loss_terms(self, model: WorldModel, batch: Mapping[str, Any], prediction: Prediction) -> dict[str, Tensor]:
        rows = batch["is_replay"].nonzero()[:, 0]
        if not len(rows):
            return {}
        replayed = select_samples(prediction, rows)
        teacher = {name: value.to(model.device) for name, value in self._initial_weights.items()}
        with torch.no_grad():
            target = functional_call(model, teacher, (replayed.noisy, replayed.sigma, replayed.conditions))
        errors = velocity_mse(replayed, target, batch["cell_weight"][rows])
        return {"distill": self.weight * errors.sum() / len(batch["is_replay"])}
