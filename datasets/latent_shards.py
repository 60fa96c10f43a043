"""Latents of many clips stacked in one safetensors file, which describes itself and is read through a memory map."""

import json
import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from datasets.durable import sync_folder
from datasets.errors import UserError

# One metadata entry only: safetensors keeps its metadata in a hash map, so several would come out in any order and the
# bytes of a shard would differ from run to run.
METADATA_KEY = "driveforge"
OPEN_SHARDS = 1024


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LatentSample:
    """What is stored of one clip: tensors by name, such as ``latents`` ``(C, T, h, w)`` or ``rays`` ``(6, T, h, w)``.

    Samples that are stored together share names, shapes and dtypes. Tensors that were read are views of a memory map:
    clone them before changing them in place. ``origin`` says where the clip is from; nothing is learnt from it.
    """

    clip_id: str
    domain: str
    caption: str
    tensors: dict[str, torch.Tensor]
    origin: dict[str, str] = field(default_factory=dict)

    @property
    def entry(self) -> dict[str, Any]:
        words = {"clip_id": self.clip_id, "domain": self.domain, "caption": self.caption}
        return words | ({"origin": self.origin} if self.origin else {})

    @property
    def layout(self) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        """Shape and dtype of every tensor."""
        return {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in sorted(self.tensors.items())}


def require_storable(sample: LatentSample, layout: dict[str, tuple[tuple[int, ...], torch.dtype]] | None) -> None:
    """A UserError naming the clip where its tensors are not finite or are not laid out like those stored before."""
    if not sample.tensors:
        raise UserError(f"clip {sample.clip_id}: has no tensors to store")
    if layout is not None and sample.layout != layout:
        differing = sorted(set(sample.layout.items()) ^ set(layout.items()), key=str)
        raise UserError(
            f"clip {sample.clip_id}: its tensors differ in name, shape or dtype from those already stored "
            f"({', '.join(f'{name} {shape} {dtype}' for name, (shape, dtype) in differing)})"
        )
    for name, tensor in sample.tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise UserError(f"clip {sample.clip_id}: {name} holds NaN or infinite values")


def write_shard(path: Path, samples: Sequence[LatentSample]) -> None:
    """Writes the samples stacked along a new leading axis; same input, same bytes."""
    stacked = {
        name: torch.stack([sample.tensors[name].detach().cpu() for sample in samples]) for name in samples[0].tensors
    }
    entries = json.dumps([sample.entry for sample in samples], ensure_ascii=False)
    publish(path, save(stacked, metadata={METADATA_KEY: entries}))


def publish(path: Path, content: bytes) -> None:
    """Puts a whole file at ``path``; a reader, or a crash at any time, sees the old one or the new."""
    # One name for all attempts, so that the next one clears away what a killed one left.
    scratch = path.with_name(f".{path.name}.tmp")
    with open(scratch, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(scratch, path)
    sync_folder(path.parent)


def read_entries(path: Path) -> list[dict[str, Any]]:
    """Clip id, domain, caption and, where it is known, origin of every sample of a shard; reads its header only."""
    with _open(path) as file:
        return _entries(file, path)


class LatentShard:
    """One shard, mapped once: a row costs no read of its own, and pages go back to the system when it needs them."""

    def __init__(self, path: Path) -> None:
        with _open(path) as file:
            self._entries = _entries(file, path)
            self._tensors: dict[str, torch.Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118

    def __len__(self) -> int:
        return len(self._entries)

    def sample(self, row: int) -> LatentSample:
        return LatentSample(tensors={name: tensor[row] for name, tensor in self._tensors.items()}, **self._entries[row])


class OpenShards:
    """The shards of a folder by file name, mapped when they are first asked for, in each process anew."""

    def __init__(self, folder: Path, limit: int = OPEN_SHARDS) -> None:
        self._folder = folder
        self._limit = limit
        self._open: OrderedDict[str, LatentShard] = OrderedDict()

    def __getitem__(self, file: str) -> LatentShard:
        if file in self._open:
            self._open.move_to_end(file)
        else:
            self._open[file] = LatentShard(self._folder / file)
            if len(self._open) > self._limit:
                self._open.popitem(last=False)
        return self._open[file]

    def __reduce__(self) -> tuple[Any, ...]:
        return OpenShards, (self._folder, self._limit)


def _open(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path}: cannot be read as a shard of latents ({error}); delete it and make it again"
        ) from None


def _entries(file: Any, path: Path) -> list[dict[str, Any]]:
    metadata = file.metadata() or {}
    if METADATA_KEY not in metadata:
        raise UserError(f"{path}: is a safetensors file, but not a shard of latents")
    entries: list[dict[str, Any]] = json.loads(metadata[METADATA_KEY])
    return entries
