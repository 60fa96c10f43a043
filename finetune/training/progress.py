"""A progress bar of optimizer steps since the start of the run; Lightning's counts batches since it was resumed."""

from contextlib import ExitStack
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from driveforge.datasets.progress import show_progress


class StepProgress(Callback):
    def __init__(self, description: str) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("loss {task.fields[loss]:.3f}"),
        )
        self._shown = ExitStack()
        self._task = self._progress.add_task(description, total=None, loss=float("nan"))

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self._progress.update(self._task, total=trainer.max_steps, completed=trainer.global_step)
        self._shown.enter_context(show_progress(self._progress))

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        loss = float(trainer.callback_metrics.get("loss", float("nan")))
        self._progress.update(self._task, completed=trainer.global_step, loss=loss)

    def on_train_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self._shown.close()

    def on_exception(self, trainer: lightning.Trainer, module: lightning.LightningModule, error: BaseException) -> None:
        self._shown.close()
