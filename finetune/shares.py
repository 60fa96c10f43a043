"""What replay really got: the realised share of every pool, logged as the plan is carried out."""

from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

from replay.plan import BatchPlan


class LogShares(Callback):
    """Logs ``share/<pool>``, of all samples so far, whenever the trainer logs."""

    def __init__(self, plan: BatchPlan) -> None:
        self._plan = plan

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        due = trainer.global_step % trainer.log_every_n_steps == 0
        if trainer.logger is not None and due and trainer.is_global_zero:
            batches = trainer.global_step * trainer.accumulate_grad_batches
            counts = self._plan.realised(batches)
            total = max(1, sum(counts.values()))
            shares = {f"share/{pool}": count / total for pool, count in counts.items()}
            trainer.logger.log_metrics(shares, step=trainer.global_step)
