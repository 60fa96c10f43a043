"""Packing of accepted samples into WebDataset shards of equal size, with an index, Croissant metadata and a card."""

import hashlib
import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from rich.progress import Progress

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import remove_partial_files, sync_folder, translate_write_errors, write_atomic
from driveforge.datasets.progress import show_progress
from driveforge.datasets.scene import CLIP_ID, Scene
from driveforge.datasets.webdataset_shards.arrays import RENDERED_MEMBERS
from driveforge.datasets.webdataset_shards.croissant import croissant
from driveforge.datasets.webdataset_shards.data_card import DataCard, Provenance, SampleSummary, data_card
from driveforge.datasets.webdataset_shards.export_folder import export_folder
from driveforge.datasets.webdataset_shards.exported import SCHEMA_FILE, exported_members, sample_schema
from driveforge.datasets.webdataset_shards.format import SCENE_MEMBERS, extend_metadata, load_json, scene_from_members
from driveforge.datasets.webdataset_shards.index import (
    INDEX_FILE,
    INDEX_VERSION,
    FileEntry,
    Index,
    ShardEntry,
)
from driveforge.datasets.webdataset_shards.sample_table import TABLE_FILE, sample_table
from driveforge.datasets.webdataset_shards.settings import ExportSettings
from driveforge.datasets.webdataset_shards.tar_samples import Span, read_members
from driveforge.datasets.webdataset_shards.tarball import TarSummary, write_tar

CROISSANT_FILE, CARD_FILE = "croissant.json", "README.md"


@dataclass(frozen=True, kw_only=True, slots=True)
class AcceptedSample:
    """A sample to pack: its location, and ``metadata`` (such as a verdict) to add to its own.

    ``render`` makes the ``RENDERED_MEMBERS`` of its scene, if that is simulated.
    """

    tar: Path
    key: str
    members: Mapping[str, Span] = field(repr=False)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    render: Callable[[Scene], dict[str, bytes]] | None = field(default=None, repr=False)

    @property
    def member_names(self) -> set[str]:
        """The names of the members of the exported sample."""
        return {*self.members, *SCENE_MEMBERS, *(RENDERED_MEMBERS if self.render else ())}

    def json_member(self) -> dict[str, Any]:
        """The content of the stored ``json`` member, with ``metadata`` added."""
        content = read_members(self.tar, {"json": self.members["json"]})["json"]
        return extend_metadata(content, self.metadata, f"{self.tar}: {self.key}")

    def read_scene(self) -> tuple[Scene, dict[str, Any]]:
        """The scene and its metadata, with ``metadata`` added, without decoding video."""
        names = [name for name in ("json", "poses.npy", "tracks.npz") if name in self.members]
        members = read_members(self.tar, {name: self.members[name] for name in names})
        scene, metadata = scene_from_members(members, f"{self.tar}: {self.key}")
        return scene, metadata | dict(self.metadata)

    def export_members(self, settings: ExportSettings) -> dict[str, bytes]:
        """The members of the exported sample."""
        members = read_members(self.tar, self.members)
        where = f"{self.tar}: {self.key}"
        rendered = self.render(self.read_scene()[0]) if self.render else {}
        return exported_members(members, self.metadata, settings, where) | rendered


def pack_shards(
    accepted: Iterable[AcceptedSample], out: Path, settings: ExportSettings, provenance: Provenance
) -> dict[str, Any]:
    """Write shards, the documents next to them and finally ``index.json`` to ``out``; returns the index.

    Shards hold samples of one split, and their sizes differ by at most one sample within a split. Samples are shuffled
    by a hash of their keys, so the bytes do not depend on the order of ``accepted`` or on the machine. Videos are
    copied without re-encoding, with one clip in memory at a time. An older export in ``out`` stays valid until the new
    index replaces its index; its shards are then deleted.
    """
    samples = _index_by_key(accepted)
    summaries = [
        SampleSummary.from_json(sample.key, sample.json_member(), sample.member_names) for sample in samples.values()
    ]
    plan = _plan_shards(summaries, settings)
    with export_folder(out):
        return _write_export(samples, summaries, plan, out, settings, provenance)


def _write_export(
    samples: Mapping[str, AcceptedSample],
    summaries: Sequence[SampleSummary],
    plan: Mapping[str, list[list[str]]],
    out: Path,
    settings: ExportSettings,
    provenance: Provenance,
) -> dict[str, Any]:
    """Write all shards and documents, then the index; returns the index."""
    shards, records = _write_shards(samples, plan, out, settings)
    card = DataCard(name=settings.name, license=settings.license or "", samples=summaries, provenance=provenance)
    table = sample_table(records)
    files = {
        TABLE_FILE: table,
        CROISSANT_FILE: (json.dumps(croissant(card, shards, table), indent=1, ensure_ascii=False) + "\n").encode(),
        CARD_FILE: data_card(card, shards).encode(),
        SCHEMA_FILE: sample_schema(),
    }
    for name, content in files.items():
        write_atomic(out / name, content)
    index = (json.dumps(asdict(_build_index(settings, shards, files)), indent=1, ensure_ascii=False) + "\n").encode()
    write_atomic(out / INDEX_FILE, index)
    return dict(json.loads(index))


def _index_by_key(accepted: Iterable[AcceptedSample]) -> dict[str, AcceptedSample]:
    samples: dict[str, AcceptedSample] = {}
    for sample in accepted:
        other = samples.setdefault(sample.key, sample)
        if other is not sample:
            raise UserError(f"clip {sample.key} is both in {other.tar} and in {sample.tar}: export only one of them")
    if not samples:
        raise UserError("no clip was accepted, so there is nothing to export; see the reasons of the rejections")
    return samples


def _plan_shards(summaries: Iterable[SampleSummary], settings: ExportSettings) -> dict[str, list[list[str]]]:
    """The keys of the samples of each shard by split, in packing order: a fixed shuffle, by the hash of the key."""
    splits: defaultdict[str, list[SampleSummary]] = defaultdict(list)
    for sample in summaries:
        if not CLIP_ID.fullmatch(sample.split):
            raise UserError(f"{sample.key}: split {sample.split!r} may hold only a-z, 0-9, '-' and '_'")
        splits[sample.split].append(sample)
    return {split: _plan_split(splits[split], settings) for split in sorted(splits)}


def _plan_split(samples: Sequence[SampleSummary], settings: ExportSettings) -> list[list[str]]:
    """Shards of equal size. As far as possible each starts with a clip that has objects.

    Loaders infer types from the first samples, and an empty list of boxes has no type.
    """
    shuffled = sorted(samples, key=lambda sample: hashlib.sha256(sample.key.encode()).digest())
    sizes = _shard_sizes(len(samples), settings)
    firsts = [sample.key for sample in shuffled if sample.has_objects][: len(sizes)]
    others = iter([sample.key for sample in shuffled if sample.key not in firsts])
    starts = [[key] for key in firsts] + [[] for _ in sizes[len(firsts) :]]
    return [start + list(islice(others, size - len(start))) for start, size in zip(starts, sizes, strict=True)]


def _write_shards(
    samples: Mapping[str, AcceptedSample], plan: Mapping[str, list[list[str]]], out: Path, settings: ExportSettings
) -> tuple[list[dict[str, Any]], list[tuple[str, dict[str, Any]]]]:
    """Write all shards; returns their index entries, and (shard, content of the ``json`` member) of every sample."""
    shards, records = [], []
    remove_partial_files(out)
    with show_progress(Progress()) as progress:
        task = progress.add_task("Exporting", total=len(samples))
        for split, shard_keys in plan.items():
            for number, keys in enumerate(shard_keys):
                selected = [samples[key] for key in keys]
                shard, written = _write_shard(selected, out, f"{split}-{number:05d}", settings)
                shards.append({"name": shard.path.name, "split": split} | _index_fields(shard))
                records += [(shard.path.name, record) for record in written]
                progress.advance(task, len(keys))
    with translate_write_errors(out):
        sync_folder(out)
    return shards, records


def _write_shard(
    samples: Sequence[AcceptedSample], out: Path, name: str, settings: ExportSettings
) -> tuple[TarSummary, list[dict[str, Any]]]:
    """Write a shard under ``name`` and a hash of its bytes; returns it and the contents of its ``json`` members."""
    records = []

    def export() -> Iterator[tuple[str, dict[str, bytes]]]:
        for sample in samples:
            members = sample.export_members(settings)
            records.append(load_json(members["json"], sample.key))
            yield sample.key, members

    try:
        summary = write_tar(out / f".{name}.tmp", export())
        path = out / f"{name}-{summary.sha256[:8]}.tar"
        with translate_write_errors(path):
            summary.path.replace(path)
    finally:
        remove_partial_files(out)
    return replace(summary, path=path), records


def _index_fields(summary: TarSummary) -> dict[str, Any]:
    return {
        "num_samples": summary.num_samples,
        "num_bytes": summary.num_bytes,
        "sha256": summary.sha256,
        "keys": list(summary.keys),
    }


def _shard_sizes(num_clips: int, settings: ExportSettings) -> list[int]:
    num_shards = max(math.ceil(num_clips / settings.clips_per_shard), min(settings.min_shards, num_clips))
    return [num_clips // num_shards + (shard < num_clips % num_shards) for shard in range(num_shards)]


def _build_index(settings: ExportSettings, shards: Sequence[dict[str, Any]], files: Mapping[str, bytes]) -> Index:
    splits: Counter[str] = Counter()
    for shard in shards:
        splits[shard["split"]] += shard["num_samples"]
    return Index(
        schema_version=INDEX_VERSION,
        generator="driveforge",
        name=settings.name,
        num_samples=splits.total(),
        num_bytes=sum(shard["num_bytes"] for shard in shards),
        splits=dict(splits),
        files={
            name: FileEntry(num_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
            for name, content in files.items()
        },
        shards=tuple(ShardEntry(**shard) for shard in shards),
    )
