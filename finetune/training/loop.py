"""A training run, which can be resumed at any step, bit-exactly."""

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger

from driveforge.finetune.training.checkpoints import (
    AtomicCheckpointIO,
    PeriodicCheckpoint,
    find_newest_checkpoint,
    remove_partial_checkpoints,
    require_same_config,
)
from driveforge.finetune.training.distributed import distributed_kwargs, is_rank_zero
from driveforge.finetune.training.module import WorldModelModule
from driveforge.finetune.training.progress import StepProgress
from driveforge.replay.dataset import Batch

# (start, rank, world size) -> the batches of one rank for the steps start, start + 1, ... of the plan.
BatchFactory = Callable[[int, int, int], Iterable[Batch]]


class PlannedDataModule(lightning.LightningDataModule):
    """Loads batches that are a function of the step, so that the step is its only state."""

    def __init__(self, make_batches: BatchFactory, accumulate_grad_batches: int) -> None:
        super().__init__()
        self._batches = make_batches
        self._accumulate_grad_batches = accumulate_grad_batches
        self._start = 0

    def train_dataloader(self) -> Iterable[Batch]:
        assert self.trainer is not None
        return self._batches(self._start, self.trainer.global_rank, self.trainer.world_size)

    def state_dict(self) -> dict[str, Any]:
        assert self.trainer is not None
        return {"start": self.trainer.global_step * self._accumulate_grad_batches}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._start = state_dict["start"]


def train(
    module: WorldModelModule,
    make_batches: BatchFactory,
    root: Path,
    *,
    logger: Logger | bool = False,
    callbacks: Sequence[Callback] = (),
) -> None:
    """Train ``module`` to its last step and write checkpoints to ``root``; resumes from the newest intact one there.

    Under ``torchrun --nproc-per-node N``, with the same ``root`` in every process, each process trains on its part of
    every batch, and all end with the same weights. Raises UserError if the checkpoint belongs to another run.
    """
    # Lightning sets its log level when it is imported; at INFO it prints hints about hardware and products.
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    settings = module.settings
    if is_rank_zero():
        remove_partial_checkpoints(root)
    newest = find_newest_checkpoint(root, up_to=settings.steps)
    if newest:
        require_same_config(newest, module.run_config)
    trainer = lightning.Trainer(
        accelerator="auto",
        **distributed_kwargs(settings),
        # The plan divides the batches among the ranks.
        use_distributed_sampler=False,
        default_root_dir=root,
        max_steps=settings.steps,
        max_epochs=-1,
        accumulate_grad_batches=settings.accumulate_grad_batches,
        gradient_clip_val=settings.max_grad_norm or None,
        precision="bf16-mixed" if settings.precision == "bf16" else "32-true",
        logger=logger,
        plugins=[AtomicCheckpointIO()],
        log_every_n_steps=10,
        enable_model_summary=False,
        enable_progress_bar=False,
        callbacks=[
            PeriodicCheckpoint(root, settings.checkpoint_every),
            StepProgress("Training"),
            *callbacks,
        ],
    )
    trainer.fit(module, datamodule=PlannedDataModule(make_batches, settings.accumulate_grad_batches), ckpt_path=newest)
    if not module.is_sharded:
        module.cpu()
