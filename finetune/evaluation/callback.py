"""Evaluation during training, so that forgetting is visible while a run can still be stopped."""

from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

from driveforge.finetune.evaluation.clips import EvaluationSet
from driveforge.finetune.evaluation.evaluate import evaluate
from driveforge.finetune.evaluation.results import append_evaluation
from driveforge.finetune.evaluation.settings import EvaluationSettings
from driveforge.finetune.training.module import WorldModelModule


class EvaluationCallback(Callback):
    """Evaluates the averaged weights before the first step, every ``steps`` steps and after the last.

    Means by domain are logged as ``evaluation/<domain>/<measure>``. All values are added to the table ``path``, with
    the model name ``base`` (a digest) before the first step and ``step-<step>`` later. Training is not affected:
    weights are restored exactly and no global generator is used. A resumed run replaces the rows of repeated steps.
    """

    def __init__(
        self, evaluation_set: EvaluationSet, settings: EvaluationSettings, path: Path, *, steps: int, base: str
    ) -> None:
        self._evaluation_set, self._settings = evaluation_set, settings
        self._path, self._steps, self._base = path, steps, base
        self._last = -1

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self._last = trainer.global_step or -1
        if trainer.global_step == 0:
            self._evaluate(trainer, module)

    def on_train_batch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule, *_: Any) -> None:
        if trainer.global_step % self._steps == 0:
            self._evaluate(trainer, module)

    def on_train_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self._evaluate(trainer, module)

    def _evaluate(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Evaluates once per step, which may have several batches.

        Rank 0 evaluates, and the others wait in their next all-reduce; a sharded model is evaluated by all together.
        """
        assert isinstance(module, WorldModelModule)
        step = trainer.global_step
        if step == self._last or not (trainer.is_global_zero or module.is_sharded):
            return
        self._last = step
        with module.ema_weights() as model:
            evaluation = evaluate(model, self._evaluation_set, self._settings)
        if not trainer.is_global_zero:
            return
        append_evaluation(self._path, evaluation, step=step, model=f"step-{step}" if step else self._base)
        if trainer.logger is not None:
            means = {f"evaluation/{domain}/{measure}": mean for (domain, measure), mean in evaluation.means().items()}
            trainer.logger.log_metrics(means, step=step)
