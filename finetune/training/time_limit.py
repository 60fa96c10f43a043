"""A time limit of training, which ends with a checkpoint."""

import time
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback


class TimeIsUp(Exception):
    """The time limit has passed; the work continues from what is on disk."""


class StopInTime(Callback):
    """Saves a checkpoint to ``root`` after the first optimizer step past ``deadline``, and raises ``TimeIsUp``.

    ``deadline`` is a time of ``time.monotonic``. Training resumes from the checkpoint with the same result.
    """

    def __init__(self, root: Path, deadline: float) -> None:
        self._root, self._deadline = root, deadline
        self._last = 0

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self._last = trainer.global_step

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        step = trainer.global_step
        if step > self._last and step < trainer.max_steps and time.monotonic() >= self._deadline:
            trainer.save_checkpoint(self._root / f"step={step}.ckpt")
            raise TimeIsUp(f"the time limit has passed after {step} of {trainer.max_steps} steps")
