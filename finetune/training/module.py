"""The Lightning module of the world model: training step, averaged weights, and what a checkpoint holds."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import lightning
import torch
from diffusers import ModelMixin
from diffusers.training_utils import EMAModel
from torch import Tensor

from driveforge.datasets.errors import UserError
from driveforge.finetune.strategies.baselines import Naive
from driveforge.finetune.strategies.strategy import RecordingModel, Strategy
from driveforge.finetune.training.distributed import is_sharded
from driveforge.finetune.training.settings import TrainingSettings
from driveforge.finetune.training.sharding import copy_without_weights, gather_weights, shard_model
from driveforge.finetune.world_model.clip_tensors import ClipTensors
from driveforge.finetune.world_model.flow import flow_matching_loss, sample_noise
from driveforge.finetune.world_model.model import WorldModel
from driveforge.replay.dataset import Batch


class WorldModelModule(lightning.LightningModule):
    """Trains the weights that require gradients, with a prepared ``strategy``, and keeps their average.

    The tensors of a ``Batch`` are those of ``encode_clip``. All random numbers are functions of the seed, the batch's
    ``step`` and its ``slot``. ``resolved_config`` has further plain values that the weights depend on; a checkpoint
    with other values belongs to another run. With ``settings.parallel`` of ``fsdp`` under ``torchrun``, ``model`` is
    sharded when training starts (``is_sharded``), and what the ranks compute together, every rank must call.
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
        self.is_sharded = is_sharded(settings)
        if settings.gradient_checkpointing:
            enable_gradient_checkpointing(model)
        # In a list, so that it is not a submodule.
        self._unsharded: list[WorldModel] = []
        if not self.is_sharded:
            self._start_average()

    def configure_model(self) -> None:
        if self.is_sharded and not self._unsharded:
            self._unsharded.append(copy_without_weights(self.model))
            shard_model(self.model, self.device_mesh["data_parallel"], bf16=self.settings.precision == "bf16")
            self._start_average()

    def _start_average(self) -> None:
        # torch cannot copy DTensors with a foreach operation.
        foreach = not self.is_sharded
        self.ema = EMAModel(self._trainable_parameters(), decay=self.settings.ema_decay, foreach=foreach)

    def _trainable_parameters(self) -> list[torch.nn.Parameter]:
        return [p for p in self.model.parameters() if p.requires_grad]

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        losses, loss_terms = self._compute_losses(batch)
        loss: Tensor = (losses * batch.loss_weight).mean()
        for loss_term in loss_terms.values():
            loss = loss + loss_term
        if not torch.isfinite(loss):
            raise UserError(
                f"the loss became {loss.item()} at optimizer step {self.global_step}: the last good "
                f"checkpoint is kept; lower the learning rate (now {self.settings.learning_rate:g}) and run again"
            )
        for domain in set(batch.domain):
            chosen = torch.tensor([name == domain for name in batch.domain], device=losses.device)
            mean = losses.detach()[chosen].mean()
            self.log(f"loss/{domain}", mean, batch_size=int(chosen.sum()), on_step=True, on_epoch=False)
        for name, loss_term in loss_terms.items():
            self.log(f"strategy/{name}", loss_term.detach(), batch_size=len(losses), on_step=True, on_epoch=False)
        self.log("loss", loss.detach(), prog_bar=True, batch_size=len(losses))
        return loss

    def _compute_losses(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The flow loss (B,) of every sample, and the terms that the strategy adds to their mean."""
        clips = ClipTensors.from_mapping(batch.tensors)
        latents = clips.latents.float()
        conditions = self.model.batch_conditions(clips, batch.domain, batch.caption)
        noise_sample = sample_noise(
            self.settings.seed,
            batch.step,
            batch.slot.tolist(),
            latents.shape[1:],
            continuation_prob=self.settings.continuation_prob,
            max_context_noise=self.settings.context_noise,
            distribution=self.model.noise_distribution,
        )
        recording_model = RecordingModel(self.model, clips.cell_weight)
        losses = flow_matching_loss(
            recording_model, latents, clips.cell_weight, conditions, self.strategy.adjust_noise(batch, noise_sample)
        )
        return losses, self.strategy.loss_terms(self.model, batch, recording_model.prediction)

    @contextmanager
    def ema_weights(self) -> Iterator[WorldModel]:
        """The model with its averaged weights, in evaluation mode; on exit weights and mode are restored exactly."""
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
        """The values that a checkpoint must have to be resumed."""
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
        # The average is updated here, not in a batch hook, because checkpoint callbacks run before those.
        super().optimizer_step(*args, **kwargs)
        self.ema.step(self._trainable_parameters())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["ema"] = self.ema.state_dict()
        checkpoint["run_config"] = self.run_config

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.ema.load_state_dict(checkpoint["ema"])

    def copy_ema_to_model(self) -> None:
        """Replace the model's weights by the averaged ones.

        A sharded ``model`` is replaced by a whole one, whose weights are on the CPU of rank 0 and on the meta device of
        the other ranks.
        """
        self.ema.copy_to(self._trainable_parameters())
        if self.is_sharded:
            gather_weights(self.model, self._unsharded[0])
            self.model = self._unsharded[0]


def enable_gradient_checkpointing(model: WorldModel) -> None:
    """Let the blocks of every transformer compute their activations again in the backward pass."""
    for part in model.modules():
        if isinstance(part, ModelMixin):
            part.enable_gradient_checkpointing()


def make_lr_lambda(settings: TrainingSettings) -> Callable[[int], float]:
    """The factor of the learning rate by step: linear warm-up, then constant, or a cosine down to 3 %."""

    def factor(step: int) -> float:
        warmup_factor = min(1.0, (step + 1) / max(1, settings.warmup_steps))
        if settings.lr_schedule == "constant":
            return warmup_factor
        return warmup_factor * max(0.03, 0.5 * (1 + math.cos(math.pi * min(1.0, step / settings.steps))))

    return factor
