"""Exported WebDataset shards as a source of clips."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Clip, Scene
from driveforge.datasets.source import Item
from driveforge.datasets.webdataset_shards.format import clip_from_members, scene_from_members
from driveforge.datasets.webdataset_shards.index import INDEX_FILE, read_index
from driveforge.datasets.webdataset_shards.tar_samples import Span, read_members, scan_tar


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Sample:
    tar: Path
    spans: dict[str, Span]
    scene: Scene
    metadata: dict[str, Any]

    @property
    def where(self) -> str:
        return f"{self.tar}: {self.scene.clip_id}"


class ShardSource:
    """The clips in the shards that ``root/index.json`` lists or, without an index, in every ``*.tar`` of ``root``.

    Listing reads descriptions, poses and tracks; videos are read one clip at a time. Raises UserError naming a shard
    that is missing, damaged or of another size than its index entry, or a sample that is invalid.
    """

    skipped: Sequence[str] = ()

    def __init__(self, root: Path | str) -> None:
        self._samples: dict[str, _Sample] = {}
        for tar in list_tars(Path(root)):
            for key, spans in scan_tar(tar).items():
                sample = _read_sample(tar, key, spans)
                if sample.scene.clip_id in self._samples:
                    other = self._samples[sample.scene.clip_id].tar
                    raise UserError(f"clip {sample.scene.clip_id} is in {other} and in {tar}: remove one of them")
                self._samples[sample.scene.clip_id] = sample

    def __len__(self) -> int:
        return len(self._samples)

    def scenes(self) -> Sequence[Scene]:
        return [sample.scene for sample in self._samples.values()]

    def files(self, scene: Scene) -> Sequence[Path]:
        return [self._sample(scene.clip_id).tar]

    def load(self, scene: Scene) -> Clip:
        """The pixels of the clip ``scene.clip_id``, with ``scene`` itself, which may be edited."""
        sample = self._sample(scene.clip_id)
        stored, _ = clip_from_members(read_members(sample.tar, sample.spans), sample.where)
        return Clip(scene=scene, frames=stored.frames)

    def metadata(self, clip_id: str) -> dict[str, Any]:
        """Metadata that the writer of the shard stored: scores, provenance, request."""
        return self._sample(clip_id).metadata

    def _sample(self, clip_id: str) -> _Sample:
        if clip_id not in self._samples:
            raise UserError(f"no clip {clip_id!r} in these shards")
        return self._samples[clip_id]


def has_shards(path: Path) -> bool:
    """Whether ``path`` is a tar, or a folder with an index or tars in it."""
    return path.suffix == ".tar" or (path / INDEX_FILE).exists() or bool(_find_tars(path))


def list_items(path: Path) -> list[Item]:
    """Every sample of the shards at ``path``; a shard that cannot be listed is one item, whose loading says why."""
    return [item for tar in list_tars(path) for item in _list_samples(tar)]


def sample_item(tar: Path, key: str) -> Item:
    return Item(name=f"{tar.name}/{key}", loader=_load_sample, arguments=(tar, key))


def _list_samples(tar: Path) -> list[Item]:
    try:
        return [sample_item(tar, key) for key in scan_tar(tar)]
    except UserError:
        return [Item(name=tar.name, loader=_load_sample, arguments=(tar, ""))]


def _load_sample(tar: Path, key: str) -> Clip:
    return clip_from_members(read_members(tar, scan_tar(tar)[key]), f"{tar.name}/{key}")[0]


def list_tars(root: Path) -> list[Path]:
    """The shards of ``root`` in the order of its index, with sizes checked; without an index, every tar by name.

    If ``root`` is a tar, it is the only one.
    """
    if root.is_file():
        return [root]
    if not (root / INDEX_FILE).exists():
        if not (tars := _find_tars(root)):
            raise UserError(f"{root}: has neither {INDEX_FILE} nor *.tar files")
        return tars
    for shard in (shards := read_index(root).shards):
        tar = root / shard.name
        if not tar.exists() or tar.stat().st_size != shard.num_bytes:
            raise UserError(f"{tar}: the shard is missing or truncated, its index says {shard.num_bytes} bytes")
    return [root / shard.name for shard in shards]


def _find_tars(root: Path) -> list[Path]:
    """Every ``*.tar`` in ``root`` that is not hidden."""
    return sorted(path for path in root.glob("*.tar") if not path.name.startswith("."))


def _read_sample(tar: Path, key: str, spans: dict[str, Span]) -> _Sample:
    metadata_spans = {name: span for name, span in spans.items() if name in ("json", "poses.npy", "tracks.npz")}
    scene, metadata = scene_from_members(read_members(tar, metadata_spans), f"{tar}: {key}")
    return _Sample(tar=tar, spans=spans, scene=scene, metadata=metadata)
