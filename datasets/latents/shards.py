"""Shards of latents: samples of many clips stacked in one safetensors file, read through a memory map.

The metadata of the file has the sha256 of each clip and of the metadata itself. The metadata is verified when the file
is opened, a clip when it is first read.
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

# A single metadata entry: safetensors stores metadata in a hash map, so the order of several entries, and with it the
# bytes of a shard, would vary between runs.
METADATA_KEY = "driveforge"
MAX_OPEN_SHARDS = 1024
_ADVICE = "delete it and run again to rebuild it"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LatentSample:
    """The stored data of one clip: tensors by name, such as ``latents`` ``(C, T, h, w)`` or ``rays`` ``(6, T, h, w)``.

    Samples of one cache share tensor names, shapes and dtypes. Tensors of a stored sample are views of a memory map:
    clone them before changing them in place. ``origin`` is the provenance of the clip, which is not used in training.
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
        """sha256, in hex, of everything stored except ``origin``."""
        fields = [self.clip_id, self.domain, self.caption, str(self.tensor_specs)]
        digest = hashlib.sha256(json.dumps(fields).encode())
        for _, tensor in sorted(self.tensors.items()):
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardHeader:
    """Metadata of a shard: ``entries`` have the clip id, domain, caption and, if known, origin of each sample.

    ``sha256`` has the digest of each sample; ``digest`` is that of the entries and sample digests together.
    """

    entries: list[dict[str, Any]]
    sha256: list[str]
    digest: str


def check_storable(sample: LatentSample, tensor_specs: dict[str, tuple[tuple[int, ...], torch.dtype]] | None) -> None:
    """Raise UserError naming the clip if its tensors are not finite or do not match ``tensor_specs``."""
    if not sample.tensors:
        raise UserError(f"clip {sample.clip_id} has no tensors to store")
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
    """Write the samples stacked along a new leading axis and return their digest. Same input, same bytes."""
    stacked = {
        name: torch.stack([sample.tensors[name].detach().cpu() for sample in samples]) for name in samples[0].tensors
    }
    payload = json.dumps([[sample.entry for sample in samples], [sample.digest() for sample in samples]])
    digest = hashlib.sha256(payload.encode()).hexdigest()
    write_atomic(path, save(stacked, metadata={METADATA_KEY: digest + payload}))
    return digest


def read_shard_header(path: Path) -> ShardHeader:
    """The metadata of a shard, without its tensors; raises UserError if it is damaged."""
    with _open(path) as file:
        return _parse_header(file, path)


class LatentShard:
    """One memory-mapped shard."""

    def __init__(self, path: Path, checked: set[int] | None = None) -> None:
        """``checked`` are rows that were verified before; raises UserError if the file is not a shard."""
        self._path = path
        self._checked = set() if checked is None else checked
        with _open(path) as file:
            self._header = _parse_header(file, path)
            self._tensors: dict[str, torch.Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if not self._tensors or any(not t.ndim or len(t) != len(self) for t in self._tensors.values()):
            raise UserError(f"{path}: its tensors do not hold {len(self)} clips; {_ADVICE}")

    def __len__(self) -> int:
        return len(self._header.entries)

    def sample(self, row: int) -> LatentSample:
        """Sample ``row``; raises UserError naming file and clip if its checksum is wrong."""
        tensors = {name: tensor[row] for name, tensor in self._tensors.items()}
        sample = LatentSample(tensors=tensors, **self._header.entries[row])
        if row not in self._checked:
            if sample.digest() != self._header.sha256[row]:
                raise UserError(f"{self._path}: clip {sample.clip_id} is damaged, its checksum is wrong; {_ADVICE}")
            self._checked.add(row)
        return sample


class OpenShards:
    """The shards of a folder by file name, mapped on first use in each process, at most ``limit`` at a time."""

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
        raise UserError(f"{path}: cannot be read as a latent shard ({shorten(error)}); {_ADVICE}") from None


def _parse_header(file: Any, path: Path) -> ShardHeader:
    metadata = file.metadata() or {}
    if METADATA_KEY not in metadata:
        raise UserError(f"{path}: is a safetensors file, but not a latent shard")
    digest, payload = metadata[METADATA_KEY][:64], metadata[METADATA_KEY][64:]
    if digest != hashlib.sha256(payload.encode()).hexdigest():
        raise UserError(f"{path}: its metadata is damaged, the checksum is wrong; {_ADVICE}")
    entries, digests = json.loads(payload)
    return ShardHeader(entries=entries, sha256=digests, digest=digest)
