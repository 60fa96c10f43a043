"""Latents of many clips stacked in one safetensors file, which describes itself and is read through a memory map.

The file tells the sha256 of each clip, and of what it tells. So whoever reads a clip knows that it is as it was
written: the description is checked when the file is opened, a clip when it is first read.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.files.atomic import write_atomic

# One metadata entry only: safetensors keeps its metadata in a hash map, so several would come out in any order and the
# bytes of a shard would differ from run to run.
METADATA_KEY = "driveforge"
MAX_OPEN_SHARDS = 1024
_ADVICE = "delete it and run again to have it made anew"


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
        fields = {"clip_id": self.clip_id, "domain": self.domain, "caption": self.caption}
        return fields | ({"origin": self.origin} if self.origin else {})

    @property
    def tensor_specs(self) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        """Shape and dtype of every tensor."""
        return {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in sorted(self.tensors.items())}

    def digest(self) -> str:
        """sha256, in hex, of all that is stored of the clip but its origin."""
        fields = [self.clip_id, self.domain, self.caption, str(self.tensor_specs)]
        digest = hashlib.sha256(json.dumps(fields).encode())
        for _, tensor in sorted(self.tensors.items()):
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardHeader:
    """What a shard tells of its samples: ``entries`` is clip id, domain, caption and, where it is known, origin.

    ``sha256`` is that of each sample, ``digest`` that of all, and of these words.
    """

    entries: list[dict[str, Any]]
    sha256: list[str]
    digest: str


def check_storable(sample: LatentSample, tensor_specs: dict[str, tuple[tuple[int, ...], torch.dtype]] | None) -> None:
    """A UserError naming the clip where its tensors are not finite or are not laid out like those stored before."""
    if not sample.tensors:
        raise UserError(f"clip {sample.clip_id}: has no tensors to store")
    if tensor_specs is not None and sample.tensor_specs != tensor_specs:
        differing = sorted(set(sample.tensor_specs.items()) ^ set(tensor_specs.items()), key=str)
        raise UserError(
            f"clip {sample.clip_id}: its tensors differ in name, shape or dtype from those already stored "
            f"({', '.join(f'{name} {shape} {dtype}' for name, (shape, dtype) in differing)})"
        )
    for name, tensor in sample.tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise UserError(f"clip {sample.clip_id}: {name} holds NaN or infinite values")


def write_shard(path: Path, samples: Sequence[LatentSample]) -> str:
    """Writes the samples stacked along a new leading axis; same input, same bytes. Returns their digest."""
    stacked = {
        name: torch.stack([sample.tensors[name].detach().cpu() for sample in samples]) for name in samples[0].tensors
    }
    payload = json.dumps([[sample.entry for sample in samples], [sample.digest() for sample in samples]])
    digest = hashlib.sha256(payload.encode()).hexdigest()
    write_atomic(path, save(stacked, metadata={METADATA_KEY: digest + payload}))
    return digest


def read_shard_header(path: Path) -> ShardHeader:
    """Of a shard whose header is as it was written, a UserError where it is not; reads the header only."""
    with _open(path) as file:
        return _parse_header(file, path)


class LatentShard:
    """One shard, mapped once: a row costs no read of its own, and pages go back to the system when it needs them."""

    def __init__(self, path: Path, checked: set[int] | None = None) -> None:
        """``checked`` are rows that were found sound before; a UserError where the file is no shard."""
        self._path = path
        self._checked = set() if checked is None else checked
        with _open(path) as file:
            self._header = _parse_header(file, path)
            self._tensors: dict[str, torch.Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if not self._tensors or any(not t.ndim or len(t) != len(self) for t in self._tensors.values()):
            raise UserError(f"{path}: its tensors are not of {len(self)} clips; {_ADVICE}")

    def __len__(self) -> int:
        return len(self._header.entries)

    def sample(self, row: int) -> LatentSample:
        """A UserError naming file and clip where it is not as it was written."""
        tensors = {name: tensor[row] for name, tensor in self._tensors.items()}
        sample = LatentSample(tensors=tensors, **self._header.entries[row])
        if row not in self._checked:
            if sample.digest() != self._header.sha256[row]:
                raise UserError(f"{self._path}: clip {sample.clip_id} is not as it was written; {_ADVICE}")
            self._checked.add(row)
        return sample


class OpenShards:
    """The shards of a folder by file name, mapped when they are first asked for, in each process anew."""

    def __init__(self, folder: Path, limit: int = MAX_OPEN_SHARDS) -> None:
        self._folder = folder
        self._limit = limit
        self._open: OrderedDict[str, LatentShard] = OrderedDict()
        self._checked: dict[str, set[int]] = {}

    def __getitem__(self, file: str) -> LatentShard:
        if file in self._open:
            self._open.move_to_end(file)
        else:
            self._open[file] = LatentShard(self._folder / file, self._checked.setdefault(file, set()))
            if len(self._open) > self._limit:
                self._open.popitem(last=False)
        return self._open[file]

    def __reduce__(self) -> tuple[Any, ...]:
        return OpenShards, (self._folder, self._limit)


def _open(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: cannot be read as a shard of latents ({shorten(error)}); {_ADVICE}") from None


def _parse_header(file: Any, path: Path) -> ShardHeader:
    metadata = file.metadata() or {}
    if METADATA_KEY not in metadata:
        raise UserError(f"{path}: is a safetensors file, but not a shard of latents")
    digest, payload = metadata[METADATA_KEY][:64], metadata[METADATA_KEY][64:]
    if digest != hashlib.sha256(payload.encode()).hexdigest():
        raise UserError(f"{path}: its description is not as it was written; {_ADVICE}")
    entries, digests = json.loads(payload)
    return ShardHeader(entries=entries, sha256=digests, digest=digest)
