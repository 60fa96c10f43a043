"""Replay with distillation from the base."""

import torch
from torch import Tensor
from torch.func import functional_call

from driveforge.finetune.strategies.distillation_loss import velocity_mse
from driveforge.finetune.strategies.strategy import Prediction, Strategy, StrategyContext
from driveforge.finetune.strategies.weight_delta import Weights, copy_trainable_weights
from driveforge.finetune.world_model.model import WorldModel
from driveforge.replay.dataset import Batch


class Distill(Strategy):
    """Adds the squared difference from the velocity of the frozen base on replayed samples, at the same noise.

    loss = mean of flow losses + weight / B * sum over replayed i of |v(x_i, sigma_i) - v_base(x_i, sigma_i)|^2

    Learning without Forgetting (Li & Hoiem 2016, arXiv 1606.09282) as velocity matching; the frozen copy at the same
    noise and time is DomainShuttle's (2026, arXiv 2606.26058). With ``replay.loss_weight=0`` it replaces the flow loss
    on replayed samples. The teacher is the model with its initial trainable weights, so only those are copied: with
    LoRA the embeddings and an adapter that has no effect.
    """

    name = "replay+distill"
    replay_mode = "share"
    needs_whole_model = True
    default_weight = 1.0

    _initial_weights: Weights

    def prepare(self, context: StrategyContext) -> None:
        self._initial_weights = copy_trainable_weights(context.model)

    def loss_terms(self, model: WorldModel, batch: Batch, prediction: Prediction) -> dict[str, Tensor]:
        rows = batch.is_replay.nonzero()[:, 0]
        if not len(rows):
            return {}
        replayed = prediction.select(rows)
        teacher = {name: value.to(model.device) for name, value in self._initial_weights.items()}
        with torch.no_grad():
            target = functional_call(model, teacher, (replayed.noisy, replayed.sigma, replayed.conditions))
        return {"distill": self.weight * velocity_mse(replayed, target).sum() / len(batch)}
