"""Checkpoints of a training run, written atomically and with a digest.

A file ``step=N.ckpt`` is what ``torch.save`` writes, so ``torch.load`` reads it. The comment at the end of the zip
archive holds the sha256 of the rest, which reveals a file that is truncated, altered, or from another program.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import lightning
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint
from rich import get_console

from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.files.atomic import atomic_file

# The older one is used if the newest is damaged.
NUM_KEPT_CHECKPOINTS = 2
_NAME = re.compile(r"step=(\d+)\.ckpt")
_MAGIC = b"driveforge sha256 "
_TRAILER_SIZE = len(_MAGIC) + 64
_CHUNK_SIZE = 2**20


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
        with atomic_file(target) as file:
            _write_checkpoint(file, checkpoint)
        written = [name for step, name in list_checkpoints(target.parent) if step <= _parse_step(target)]
        for old in written[NUM_KEPT_CHECKPOINTS:]:
            old.unlink(missing_ok=True)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        found: dict[str, Any] = torch.load(path, map_location=map_location or "cpu", weights_only=True)
        return found


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
    """Whether ``path`` is bit for bit what ``AtomicCheckpointIO`` wrote."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            digest = hashlib.sha256()
            for chunk in _read_chunks(file, size - _TRAILER_SIZE - 2):
                digest.update(chunk)
            length, trailer = file.read(2), file.read()
    except OSError:
        return False
    # The digest was taken before the comment was added, when the archive ended with a comment length of 0.
    digest.update(bytes(2))
    return length == _TRAILER_SIZE.to_bytes(2, "little") and trailer == _MAGIC + digest.hexdigest().encode()


def read_run_config(path: Path) -> dict[str, Any]:
    """The run config of an intact checkpoint; its tensors are not read."""
    try:
        run_config: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)["run_config"]
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


class _HashingWriter:
    """A file that is hashed as it is written. ``torch.save`` hides errors of writing, so they are kept in ``error``."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._tail = b""
        self.digest = hashlib.sha256()
        self.error: OSError | None = None

    def write(self, chunk: Any) -> int:
        if self.error is None:
            try:
                self._file.write(chunk)
            except OSError as error:
                self.error = error
        self.digest.update(chunk)
        self._tail = (self._tail + bytes(chunk[-2:]))[-2:]
        return len(chunk)

    def flush(self) -> None:
        """Does nothing; ``atomic_file`` flushes at the end."""

    @property
    def ends_without_comment(self) -> bool:
        return self._tail == bytes(2)


def _write_checkpoint(file: IO[bytes], checkpoint: dict[str, Any]) -> None:
    hashed = _HashingWriter(file)
    torch.save(checkpoint, hashed)  # type: ignore[arg-type]
    if hashed.error is not None:
        raise hashed.error
    assert hashed.ends_without_comment, "torch.save writes a zip archive without a comment"
    file.seek(-2, os.SEEK_CUR)
    file.write(_TRAILER_SIZE.to_bytes(2, "little") + _MAGIC + hashed.digest.hexdigest().encode())


def _read_chunks(file: IO[bytes], size: int) -> Iterator[bytes]:
    while size > 0 and (chunk := file.read(min(size, _CHUNK_SIZE))):
        size -= len(chunk)
        yield chunk


def _parse_step(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    assert match, path
    return int(match[1])
