"""A checkpoint of a sharded run: a folder with one checkpoint file per rank, ``rank-R-of-N.ckpt``.

Every file holds the checkpoint with that rank's rows of each sharded tensor, as ``{"shard": rows}``. The rows of all
ranks in order are the whole tensor (FSDP2 divides the first dimension), so any number of ranks can read it.
"""

import os
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed
from torch.distributed.tensor import DTensor

from driveforge.datasets.files.atomic import WriteError, sync_folder, translate_write_errors
from driveforge.finetune.training.checkpoint_file import is_file_intact, write_checkpoint_file

_SHARD = "shard"
_NAME = re.compile(r"rank-(\d+)-of-(\d+)\.ckpt")


class Rows:
    """A tensor whose rows are in several tensors, in order; ``shape`` is that of the whole tensor."""

    def __init__(self, parts: list[Tensor]) -> None:
        self._parts = parts
        self.shape = torch.Size([sum(len(part) for part in parts), *parts[0].shape[1:]])

    def read(self, start: int, stop: int) -> Tensor:
        """A copy of the rows ``start`` to ``stop``."""
        chosen, offset = [], 0
        for part in self._parts:
            chosen.append(part[max(start - offset, 0) : max(stop - offset, 0)])
            offset += len(part)
        return torch.cat(chosen)

    def clone(self) -> Tensor:
        """A copy of all rows."""
        return torch.cat(self._parts)


def write_sharded_checkpoint(target: Path, checkpoint: dict[str, Any]) -> None:
    """Write ``checkpoint`` as the folder ``target``, atomically; every rank calls it with its own shards.

    Raises WriteError on every rank if one cannot write.
    """
    rank, world_size = distributed.get_rank(), distributed.get_world_size()
    scratch = target.with_name(f".{target.name}.tmp")

    def prepare() -> None:
        if rank == 0:
            remove_checkpoint(scratch)
            scratch.mkdir(parents=True)

    def write() -> None:
        with (scratch / f"rank-{rank}-of-{world_size}.ckpt").open("w+b") as file:
            write_checkpoint_file(file, _keep_shards(checkpoint))
            file.flush()
            os.fsync(file.fileno())

    def commit() -> None:
        if rank == 0:
            sync_folder(scratch)
            remove_checkpoint(target)  # only a damaged one is written again
            os.rename(scratch, target)
            sync_folder(target.parent)

    try:
        for phase in (prepare, write, commit):
            _run_on_all_ranks(phase, target)
    except WriteError:
        if rank == 0:
            remove_checkpoint(scratch)
        raise


def read_sharded_checkpoint(path: Path) -> dict[str, Any]:
    """The checkpoint in the file or folder ``path``, with every tensor that was sharded as ``Rows``.

    Tensors are mapped from the files, so that only the rows that are used are read.
    """
    parts = [torch.load(file, map_location="cpu", weights_only=True, mmap=True) for file in list_files(path)]
    joined: dict[str, Any] = _join(parts)
    return joined


def read_whole_checkpoint(path: Path) -> dict[str, Any]:
    """The checkpoint in the file or folder ``path``, with whole tensors in memory."""

    def read(leaf: Any) -> Any:
        return leaf.clone() if isinstance(leaf, Rows | Tensor) else leaf

    whole: dict[str, Any] = map_leaves(read_sharded_checkpoint(path), read)
    return whole


def is_folder_intact(folder: Path) -> bool:
    """Whether ``folder`` has the files of all ranks, each bit for bit as it was written."""
    files = list_files(folder)
    expected = [f"rank-{rank}-of-{len(files)}.ckpt" for rank in range(len(files))]
    if not files or [file.name for file in files] != expected:
        return False
    with ThreadPoolExecutor() as pool:
        return all(pool.map(is_file_intact, files))


def list_files(path: Path) -> list[Path]:
    """The checkpoint files of ``path`` in the order of ranks: those of a folder, or the file itself."""
    if not path.is_dir():
        return [path]
    found = [(int(match[1]), file) for file in path.iterdir() if (match := _NAME.fullmatch(file.name))]
    return [file for _, file in sorted(found)]


def remove_checkpoint(path: Path) -> None:
    """Remove a file or folder; a folder loses its name first, so that a kill leaves no part of it under that name."""
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return
    removed = path.with_name(f".{path.name.removeprefix('.').removesuffix('.tmp')}.removed.tmp")
    shutil.rmtree(removed, ignore_errors=True)
    path.rename(removed)
    shutil.rmtree(removed)


def remove_partial_folders(root: Path) -> None:
    """Remove what a killed run left of folders that it wrote or removed in ``root``."""
    for folder in root.glob(".step=*.tmp"):
        if folder.is_dir():
            shutil.rmtree(folder)


def map_leaves(tree: Any, change: Callable[[Any], Any]) -> Any:
    """``tree`` of dicts, lists and tuples with every other value changed."""
    if isinstance(tree, dict):
        return {key: map_leaves(value, change) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(map_leaves(value, change) for value in tree)
    return change(tree)


def _keep_shards(checkpoint: dict[str, Any]) -> dict[str, Any]:
    def keep(leaf: Any) -> Any:
        return {_SHARD: leaf.to_local().detach()} if isinstance(leaf, DTensor) else leaf

    kept: dict[str, Any] = map_leaves(checkpoint, keep)
    return kept


def _join(parts: list[Any]) -> Any:
    """One checkpoint from those of all ranks, which differ in their shards only."""
    first = parts[0]
    if isinstance(first, dict):
        if first.keys() == {_SHARD}:
            return Rows([part[_SHARD] for part in parts])
        return {key: _join([part[key] for part in parts]) for key in first}
    if isinstance(first, list | tuple):
        return type(first)(_join(list(values)) for values in zip(*parts, strict=True))
    return first


def _run_on_all_ranks(work: Callable[[], None], target: Path) -> None:
    """Run ``work``, and wait until all ranks have. Raises WriteError on every rank if it failed on one."""
    message = None
    try:
        with translate_write_errors(target):
            work()
    except WriteError as error:
        message = str(error)
    messages: list[str | None] = [None] * distributed.get_world_size()
    distributed.all_gather_object(messages, message)
    if failed := [found for found in messages if found]:
        raise WriteError(failed[0])
