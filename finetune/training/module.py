"""The Lightning side of the world model: one optimiser step, its average, and what a checkpoint must hold."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import lightning
import torch
from diffusers.training_utils import EMAModel
from torch import Tensor

from driveforge.datasets.errors import UserError
from driveforge.finetune.strategies.baselines import Naive
from driveforge.finetune.strategies.strategy import RecordingModel, Strategy
from driveforge.finetune.training.settings import TrainingSettings
from driveforge.finetune.world_model.conditions import stack_conditions
from driveforge.finetune.world_model.flow import flow_matching_loss, sample_noise
from driveforge.finetune.world_model.model import WorldModel


class WorldModelModule(lightning.LightningModule):
    """Trains what ``requires_grad`` in the model, by a prepared ``strategy``; keeps an average of just that.

    A batch is what ``replay.dataset`` yields: stacked tensors of ``encode_clip``, the words, ``loss_weight`` (B,), the
    ``step`` of the plan and the ``slot`` (B,) of each sample in the batch of all ranks; all randomness hangs on those.
    ``resolved_config`` are plain values that decide the weights too; a checkpoint of other facts is of another run.
    """

    def __init__(
        self,
        model: WorldModel,
        settings: TrainingSettings,
        strategy: Strategy | None = None,
        resolved_config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.settings = settings
        self.strategy = strategy or Naive()
        self.resolved_config = dict(resolved_config or {})
        self.ema = EMAModel(self._trainable_parameters(), decay=settings.ema_decay, foreach=True)

    def _trainable_parameters(self) -> list[torch.nn.Parameter]:
        return [p for p in self.model.parameters() if p.requires_grad]

    def training_step(self, batch: Mapping[str, Any], batch_index: int) -> Tensor:
        losses, loss_terms = self._compute_losses(batch)
        loss: Tensor = (losses * batch["loss_weight"]).mean()
        for loss_term in loss_terms.values():
            loss = loss + loss_term
        if not torch.isfinite(loss):
            raise UserError(
                f"the loss became {loss.item()} at optimiser step {self.global_step}: the last good "
                f"checkpoint is kept; lower the learning rate (now {self.settings.learning_rate:g}) and run again"
            )
        for domain in set(batch["domain"]):
            chosen = torch.tensor([name == domain for name in batch["domain"]], device=losses.device)
            mean = losses.detach()[chosen].mean()
            self.log(f"loss/{domain}", mean, batch_size=int(chosen.sum()), on_step=True, on_epoch=False)
        for name, loss_term in loss_terms.items():
            self.log(f"strategy/{name}", loss_term.detach(), batch_size=len(losses), on_step=True, on_epoch=False)
        self.log("loss", loss.detach(), prog_bar=True, batch_size=len(losses))
        return loss

    def _compute_losses(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """The flow loss (B,) of every sample, and what the strategy adds to their mean."""
        latents = batch["latents"].float()
        tensors = {name: value for name, value in batch.items() if isinstance(value, Tensor)}
        conditions = stack_conditions(tensors, batch["domain"], batch["caption"], self.model.config.domains)
        noise_sample = sample_noise(
            self.settings.seed,
            batch["step"],
            batch["slot"].tolist(),
            latents.shape[1:],
            continuation_prob=self.settings.continuation_prob,
        )
        recording_model = RecordingModel(self.model)
        losses = flow_matching_loss(
            recording_model, latents, batch["cell_weight"], conditions, self.strategy.adjust_noise(batch, noise_sample)
        )
        return losses, self.strategy.loss_terms(self.model, batch, recording_model.prediction)

    @contextmanager
    def ema_weights(self) -> Iterator[WorldModel]:
        """The model with its averaged weights, in evaluation mode; on leaving, all is to the bit as it was."""
        was_training = self.model.training
        self.ema.store(self._trainable_parameters())
        self.ema.copy_to(self._trainable_parameters())
        try:
            with torch.no_grad():
                yield self.model.eval()
        finally:
            self.ema.restore(self._trainable_parameters())
            self.model.train(was_training)

    @property
    def run_config(self) -> dict[str, Any]:
        """All that a checkpoint must agree with to be resumed."""
        return self.settings.training_record() | self.resolved_config

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = torch.optim.AdamW(
            self._trainable_parameters(),
            self.settings.learning_rate,
            (0.9, 0.99),
            weight_decay=self.settings.weight_decay,
            foreach=True,
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, make_lr_lambda(self.settings))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        # The average moves with the optimiser, not in a batch hook: checkpoint callbacks run before those.
        super().optimizer_step(*args, **kwargs)
        self.ema.step(self._trainable_parameters())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["ema"] = self.ema.state_dict()
        checkpoint["run_config"] = self.run_config

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.ema.load_state_dict(checkpoint["ema"])

    def copy_ema_to_model(self) -> None:
        """Put the averaged weights into the model, for good."""
        self.ema.copy_to(self._trainable_parameters())


def make_lr_lambda(settings: TrainingSettings) -> Callable[[int], float]:
    """Linear warm-up, then constant, or a cosine down to 3 % at the last step."""

    def factor(step: int) -> float:
        warmup_factor = min(1.0, (step + 1) / max(1, settings.warmup_steps))
        if settings.lr_schedule == "constant":
            return warmup_factor
        return warmup_factor * max(0.03, 0.5 * (1 + math.cos(math.pi * min(1.0, step / settings.steps))))

    return factor
