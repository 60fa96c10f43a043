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
from driveforge.finetune.strategies.strategy import Overheard, Strategy
from driveforge.finetune.training.settings import TrainingSettings
from driveforge.finetune.world_model.conditions import stack_conditions
from driveforge.finetune.world_model.flow import draw, flow_matching_loss
from driveforge.finetune.world_model.model import WorldModel


class WorldModelModule(lightning.LightningModule):
    """Trains what ``requires_grad`` in the model, by a prepared ``strategy``; keeps an average of just that.

    A batch is what ``replay.dataset`` yields: stacked tensors of ``encode_clip``, the words, ``loss_weight`` (B,), the
    ``step`` of the plan and the ``slot`` (B,) of each sample in the batch of all ranks; all randomness hangs on those.
    ``facts`` are plain values that decide the weights too; a checkpoint of other facts is of another run.
    """

    def __init__(
        self,
        model: WorldModel,
        settings: TrainingSettings,
        strategy: Strategy | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.settings = settings
        self.strategy = strategy or Naive()
        self.facts = dict(facts or {})
        self.average = EMAModel(self._trained(), decay=settings.ema_decay, foreach=True)

    def _trained(self) -> list[torch.nn.Parameter]:
        return [p for p in self.model.parameters() if p.requires_grad]

    def training_step(self, batch: Mapping[str, Any], batch_index: int) -> Tensor:
        losses, terms = self._losses(batch)
        loss: Tensor = (losses * batch["loss_weight"]).mean()
        for term in terms.values():
            loss = loss + term
        if not torch.isfinite(loss):
            raise UserError(
                f"the loss became {loss.item()} at optimiser step {self.global_step}: the last good "
                f"checkpoint is kept; lower the learning rate (now {self.settings.learning_rate:g}) and run again"
            )
        for domain in set(batch["domain"]):
            chosen = torch.tensor([name == domain for name in batch["domain"]], device=losses.device)
            mean = losses.detach()[chosen].mean()
            self.log(f"loss/{domain}", mean, batch_size=int(chosen.sum()), on_step=True, on_epoch=False)
        for name, term in terms.items():
            self.log(f"strategy/{name}", term.detach(), batch_size=len(losses), on_step=True, on_epoch=False)
        self.log("loss", loss.detach(), prog_bar=True, batch_size=len(losses))
        return loss

    def _losses(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """The flow loss (B,) of every sample, and what the strategy adds to their mean."""
        latents = batch["latents"].float()
        tensors = {name: value for name, value in batch.items() if isinstance(value, Tensor)}
        conditions = stack_conditions(tensors, batch["domain"], batch["caption"], self.model.config.domains)
        draws = draw(
            self.settings.seed,
            batch["step"],
            batch["slot"].tolist(),
            latents.shape[1:],
            predict=self.settings.continuation_prob,
        )
        heard = Overheard(self.model)
        losses = flow_matching_loss(heard, latents, batch["cell_weight"], conditions, self.strategy.draws(batch, draws))
        return losses, self.strategy.terms(self.model, batch, heard.prediction)

    @contextmanager
    def averaged(self) -> Iterator[WorldModel]:
        """The model with its averaged weights, in evaluation mode; on leaving, all is to the bit as it was."""
        was_training = self.model.training
        self.average.store(self._trained())
        self.average.copy_to(self._trained())
        try:
            with torch.no_grad():
                yield self.model.eval()
        finally:
            self.average.restore(self._trained())
            self.model.train(was_training)

    @property
    def record(self) -> dict[str, Any]:
        """All that a checkpoint must agree with to be resumed."""
        return self.settings.training_record() | self.facts

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = torch.optim.AdamW(
            self._trained(),
            self.settings.learning_rate,
            (0.9, 0.99),
            weight_decay=self.settings.weight_decay,
            foreach=True,
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, learning_rate_factor(self.settings))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        # The average moves with the optimiser, not in a batch hook: checkpoint callbacks run before those.
        super().optimizer_step(*args, **kwargs)
        self.average.step(self._trained())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["average"] = self.average.state_dict()
        checkpoint["settings"] = self.record

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.average.load_state_dict(checkpoint["average"])

    def adopt_average(self) -> None:
        """Put the averaged weights into the model, for good."""
        self.average.copy_to(self._trained())


def learning_rate_factor(settings: TrainingSettings) -> Callable[[int], float]:
    """Linear warm-up, then constant, or a cosine down to 3 % at the last step."""

    def factor(step: int) -> float:
        warm = min(1.0, (step + 1) / max(1, settings.warmup_steps))
        if settings.decay == "constant":
            return warm
        return warm * max(0.03, 0.5 * (1 + math.cos(math.pi * min(1.0, step / settings.steps))))

    return factor
