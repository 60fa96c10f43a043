"""Callbacks of the replay share: one adapts it to the measured forgetting, one logs the realized share per pool."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

from driveforge.finetune.world_model.model import WorldModel
from driveforge.replay.adaptive_share import AdaptiveShare
from driveforge.replay.plan import BatchPlan
from driveforge.replay.share import SteppedShare

# The forgetting of each domain, relative to the base: above 0 the model is worse.
ForgettingMetric = Callable[[WorldModel], Mapping[str, float]]


class ShareLogger(Callback):
    """Logs ``share/<pool>``, the share of all samples so far, whenever the trainer logs."""

    def __init__(self, plan: Callable[[], BatchPlan]) -> None:
        self._plan = plan

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        due = trainer.global_step % trainer.log_every_n_steps == 0
        if trainer.logger is not None and due and trainer.is_global_zero:
            batches = trainer.global_step * trainer.accumulate_grad_batches
            counts = self._plan().count_samples(batches)
            total = max(1, sum(counts.values()))
            shares = {f"share/{pool}": count / total for pool, count in counts.items()}
            trainer.logger.log_metrics(shares, step=trainer.global_step)


class AdaptiveShareCallback(Callback):
    """Adapts the replay share every ``every_n_steps`` optimizer steps.

    ``control`` chooses the share from the ``forgetting_metric`` of the averaged weights. A decision after step n holds
    from step n + 1 on, because Lightning has already loaded the first batch of step n. Lightning writes checkpoints
    after this callback, with all decisions in them, so a resumed run has the same plan. Rank 0 measures and broadcasts
    the share; a sharded model is measured by all ranks together. Logs ``forgetting/<domain>`` and ``share/target``.
    """

    def __init__(
        self,
        plan: BatchPlan,
        share: float,
        control: AdaptiveShare,
        forgetting_metric: ForgettingMetric,
        every_n_steps: int,
    ) -> None:
        self._plan = plan
        self._control = control
        self._forgetting_metric = forgetting_metric
        self._every_n_steps = every_n_steps
        self._accumulate_grad_batches = 1
        self.decisions: list[tuple[int, float]] = [(0, share)]

    def plan(self) -> BatchPlan:
        """The plan, valid up to ``decided_until``."""
        return replace(self._plan, share=SteppedShare(tuple(self.decisions)))

    def decided_until(self) -> int:
        """The first step of the plan whose share is not decided yet."""
        return (len(self.decisions) * self._every_n_steps + 1) * self._accumulate_grad_batches

    def setup(self, trainer: lightning.Trainer, module: lightning.LightningModule, stage: str) -> None:
        self._accumulate_grad_batches = trainer.accumulate_grad_batches

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Any, *_: Any) -> None:
        step = trainer.global_step
        if step < len(self.decisions) * self._every_n_steps:
            return
        share = self.decisions[-1][1]
        if trainer.is_global_zero or module.is_sharded:
            with module.ema_weights() as model:
                forgetting = self._forgetting_metric(model)
            share = self._control.next_share(share, forgetting)
            logged = {f"forgetting/{domain}": value for domain, value in forgetting.items()} | {"share/target": share}
            if trainer.logger is not None and trainer.is_global_zero:
                trainer.logger.log_metrics(logged, step=step)
        self.decisions.append(((step + 1) * self._accumulate_grad_batches, trainer.strategy.broadcast(share)))

    def state_dict(self) -> dict[str, Any]:
        return {"decisions": [[step, share] for step, share in self.decisions]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.decisions = [(step, share) for step, share in state_dict["decisions"]]
