"""Checkpoints of a training run, written atomically and with digests: ``step=N.ckpt``, a file or a folder of shards."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint
from rich import get_console

from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.files.atomic import atomic_file, remove_partial_files
from driveforge.finetune.training.checkpoint_file import is_file_intact, write_checkpoint_file
from driveforge.finetune.training.sharded_checkpoint import (
    is_folder_intact,
    list_files,
    read_whole_checkpoint,
    remove_checkpoint,
    remove_partial_folders,
)

# The older one is used if the newest is damaged.
NUM_KEPT_CHECKPOINTS = 2
_NAME = re.compile(r"step=(\d+)\.ckpt")


class PeriodicCheckpoint(Checkpoint):
    """Saves a checkpoint to ``root`` after every ``every_n_steps``-th optimizer step.

    Lightning's callback also saves after the first batch of a resumed run. With gradient accumulation that state is in
    the middle of a step, from which a run cannot be resumed exactly.
    """

    def __init__(self, root: Path, every_n_steps: int) -> None:
        self._root = root
        self._every_n_steps = every_n_steps
        self._last = 0

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self._last = trainer.global_step

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        step = trainer.global_step
        if step > self._last and step % self._every_n_steps == 0:
            self._last = step
            trainer.save_checkpoint(self._root / f"step={step}.ckpt")


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints atomically. Lightning's writes to ``$TMPDIR``, and moving to another file system is a copy."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write ``path``, then delete older checkpoints except the newest ``NUM_KEPT_CHECKPOINTS``."""
        target = Path(path)
        if target.is_dir():  # damaged, since a run resumes from an intact one
            remove_checkpoint(target)
        with atomic_file(target) as file:
            write_checkpoint_file(file, checkpoint)
        remove_older_checkpoints(target)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        if Path(path).is_dir():
            return read_whole_checkpoint(Path(path))
        found: dict[str, Any] = torch.load(path, map_location=map_location or "cpu", weights_only=True)
        return found


def remove_older_checkpoints(newest: Path) -> None:
    """Remove the checkpoints before ``newest``, except as many as are kept in all."""
    written = [name for step, name in list_checkpoints(newest.parent) if step <= _parse_step(newest)]
    for old in written[NUM_KEPT_CHECKPOINTS:]:
        remove_checkpoint(old)


def remove_partial_checkpoints(root: Path) -> None:
    """Remove what a killed run left of checkpoints that it was writing or removing."""
    remove_partial_files(root)
    remove_partial_folders(root)


def list_checkpoints(root: Path) -> list[tuple[int, Path]]:
    """Steps and files of the checkpoints in ``root``, newest first."""
    found = ((_NAME.fullmatch(path.name), path) for path in root.glob("step=*.ckpt"))
    return sorted(((int(match[1]), path) for match, path in found if match), reverse=True)


def find_newest_checkpoint(root: Path, up_to: int | None = None) -> Path | None:
    """The newest intact checkpoint of ``root``, of at most ``up_to`` steps, or None. Prints which ones are damaged."""
    for step, path in list_checkpoints(root):
        if up_to is not None and step > up_to:
            continue
        if is_intact(path):
            return path
        get_console().print(f"skipping {path}: damaged, or not written by driveforge", markup=False, soft_wrap=True)
    return None


def is_intact(path: Path) -> bool:
    """Whether ``path`` is bit for bit what was written: a file of one process, or a folder with a file per rank."""
    return is_folder_intact(path) if path.is_dir() else is_file_intact(path)


def read_run_config(path: Path) -> dict[str, Any]:
    """The run config of an intact checkpoint; its tensors are not read."""
    file = list_files(path)[0]
    try:
        run_config: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True, mmap=True)["run_config"]
    except Exception as error:
        raise UserError(f"{path}: was written by another version; use another run_dir") from error
    return run_config


def require_same_config(checkpoint: Path, now: Mapping[str, Any]) -> None:
    """Raises UserError if ``checkpoint`` belongs to a run with another config; only the number of steps may differ."""
    was = read_run_config(checkpoint)
    changed = [
        f"{key} was {shorten(was.get(key), 32)}, is {shorten(now.get(key), 32)}"
        for key in {**now, **was}
        if key != "steps" and was.get(key) != now.get(key)
    ]
    if changed:
        more = f" and {len(changed) - 2} more" if len(changed) > 2 else ""
        raise UserError(
            f"{checkpoint} was made from other data or settings ({'; '.join(changed[:2])}{more}): restore them, or "
            "use another run_dir"
        )


def _parse_step(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    assert match, path
    return int(match[1])
