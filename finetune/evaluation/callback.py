"""Probes a model while it is trained, so that a run shows what it forgets while it still can be stopped."""

from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

from driveforge.finetune.evaluation.clips import ProbeSet
from driveforge.finetune.evaluation.evaluate import probe
from driveforge.finetune.evaluation.results import append_probed
from driveforge.finetune.evaluation.settings import ProbeSettings
from driveforge.finetune.training.module import WorldModelModule


class ProbeEvery(Callback):
    """Probes the averaged weights before the first step, every ``steps`` steps and after the last.

    Means by domain go to the trainer's logger as ``probe/<domain>/<measure>``, all values to the table ``path``: those
    before the first step under the digest ``base`` of the model that the run begins with, later ones, whose weights lie
    in no folder, as ``step-<step>``. Nothing of the training changes by it: weights come back bit by bit, no generator
    is moved, and a resumed run replaces the rows of a step that it takes again.
    """

    def __init__(self, probe_set: ProbeSet, settings: ProbeSettings, path: Path, *, steps: int, base: str) -> None:
        self._probe_set, self._settings = probe_set, settings
        self._path, self._steps, self._base = path, steps, base
        self._last = -1

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self._last = trainer.global_step or -1
        if trainer.global_step == 0:
            self._probe(trainer, module)

    def on_train_batch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule, *_: Any) -> None:
        if trainer.global_step % self._steps == 0:
            self._probe(trainer, module)

    def on_train_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self._probe(trainer, module)

    def _probe(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Once a step, though several batches may make one; other ranks wait at their next gradient."""
        step = trainer.global_step
        if step == self._last or not trainer.is_global_zero:
            return
        assert isinstance(module, WorldModelModule)
        self._last = step
        with module.averaged() as model:
            probed = probe(model, self._probe_set, self._settings)
        append_probed(self._path, probed, step=step, model=f"step-{step}" if step else self._base)
        if trainer.logger is not None:
            means = {f"probe/{domain}/{measure}": mean for (domain, measure), mean in probed.means().items()}
            trainer.logger.log_metrics(means, step=step)
