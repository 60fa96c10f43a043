"""Replay, with the base as a teacher."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from driveforge.finetune.strategies.distillation_loss import mismatch, rows_of
from driveforge.finetune.strategies.strategy import Ground, Prediction, Strategy
from driveforge.finetune.strategies.weight_delta import Weights, trained_weights
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
    mix = "share"
    usual_weight = 1.0

    _start: Weights

    def prepare(self, ground: Ground) -> None:
        self._start = trained_weights(ground.model)

    def terms(self, model: WorldModel, batch: Mapping[str, Any], prediction: Prediction) -> dict[str, Tensor]:
        rows = batch["is_replay"].nonzero()[:, 0]
        if not len(rows):
            return {}
        asked = rows_of(prediction, rows)
        teacher = {name: value.to(model.device) for name, value in self._start.items()}
        with torch.no_grad():
            target = functional_call(model, teacher, (asked.noisy, asked.sigma, asked.conditions))
        apart = mismatch(asked, target, batch["cell_weight"][rows])
        return {"distill": self.weight * apart.sum() / len(batch["is_replay"])}
