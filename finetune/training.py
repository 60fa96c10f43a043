"""One training run: resumable at any step, and exact to the bit when resumed."""

import logging
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import Logger

from datasets.errors import UserError
from finetune.module import WorldModelModule
from finetune.processes import processes
from finetune.progress import StepProgress

# Makes the batches of plan steps start, start + 1, ... for one rank of a world: (start, rank, world size) -> batches.
Batches = Callable[[int, int, int], Iterable[Mapping[str, Any]]]


class PlannedData(lightning.LightningDataModule):
    """Batches that are a function of the step, so that the step is all that a resumed run has to know."""

    def __init__(self, batches: Batches, accumulate: int) -> None:
        super().__init__()
        self._batches = batches
        self._accumulate = accumulate
        self._start = 0

    def train_dataloader(self) -> Iterable[Mapping[str, Any]]:
        assert self.trainer is not None
        return self._batches(self._start, self.trainer.global_rank, self.trainer.world_size)

    def state_dict(self) -> dict[str, Any]:
        assert self.trainer is not None
        return {"start": self.trainer.global_step * self._accumulate}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._start = state_dict["start"]


def train(
    module: WorldModelModule,
    batches: Batches,
    root: Path,
    *,
    checkpoint_every: int,
    logger: Logger | bool = False,
    callbacks: Sequence[Callback] = (),
) -> None:
    """Train ``module`` to its last step, from the newest checkpoint in ``root`` where there is one; new ones go there.

    Called in every process of ``torchrun --nproc-per-node N``, with one ``root`` for all, it trains on N processes:
    each takes its part of every batch, and all end with the same weights.

    A UserError where that checkpoint was made under other settings.
    """
    # Lightning sets its level when it is imported, and then speaks of GPUs, folders and products on every run.
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    # A folder that holds something is how resuming works.
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
    settings = module.settings
    newest = newest_checkpoint(root)
    if newest:
        require_same_run(newest, module)
    trainer = lightning.Trainer(
        accelerator="auto",
        **processes(),
        # The plan has dealt the batches to the ranks.
        use_distributed_sampler=False,
        default_root_dir=root,
        max_steps=settings.steps,
        max_epochs=-1,
        accumulate_grad_batches=settings.accumulate,
        gradient_clip_val=settings.clip or None,
        precision="bf16-mixed" if settings.precision == "bf16" else "32-true",
        logger=logger,
        log_every_n_steps=10,
        enable_model_summary=False,
        enable_progress_bar=False,
        callbacks=[
            ModelCheckpoint(root, filename="{step}", every_n_train_steps=checkpoint_every),
            StepProgress("Training"),
            *callbacks,
        ],
    )
    trainer.fit(module, datamodule=PlannedData(batches, settings.accumulate), ckpt_path=newest)
    module.cpu()


def newest_checkpoint(root: Path) -> Path | None:
    """The checkpoint of ``root`` with the most steps: a kill between writing one and deleting the last leaves two."""
    return max(root.glob("step=*.ckpt"), key=lambda path: int(path.stem.removeprefix("step=")), default=None)


def require_same_run(checkpoint: Path, module: WorldModelModule) -> None:
    """A UserError where ``checkpoint`` belongs to a run with other settings; only a run's length may change."""
    was = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["settings"]
    now = module.record
    changed = [f"{key} was {was.get(key)}, is {now[key]}" for key in now if key != "steps" and was.get(key) != now[key]]
    if changed:
        raise UserError(
            f"{checkpoint} was made under other settings ({'; '.join(changed)}): delete it or put them back"
        )
