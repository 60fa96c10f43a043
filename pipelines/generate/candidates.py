"""Committed candidates: listed with their metadata, decoded one at a time."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from driveforge.datasets.scene import Clip
from driveforge.datasets.webdataset_shards.format import clip_from_members, load_json
from driveforge.datasets.webdataset_shards.tar_samples import Span, read_members
from driveforge.pipelines.generate.commit import CommitLog
from driveforge.validation.records import Measures


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleRef:
    """The location of a committed sample: its unit, tar and key, and the spans of its members in the tar."""

    unit: str
    tar: Path
    key: str
    members: Mapping[str, Span] = field(repr=False)

    def read(self) -> dict[str, bytes]:
        """The bytes of every member, by its name without the key."""
        return read_members(self.tar, self.members)


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A committed clip without its pixels, with the metadata of the generation stage and its measures."""

    ref: SampleRef
    metadata: Mapping[str, Any]
    measures: Measures

    @property
    def clip_id(self) -> str:
        return self.ref.key

    def load(self) -> Clip:
        """Decode the clip."""
        return clip_from_members(self.ref.read(), f"{self.ref.tar.name}: {self.clip_id}")[0]


def iter_candidates(root: Path) -> Iterator[Candidate]:
    """Every committed candidate under ``root``, in plan order; raises UserError if a tar was changed."""
    log = CommitLog(root)
    for marker in log.read_markers():
        for key, members in log.read_verified(marker).items():
            yield _candidate(SampleRef(unit=marker.unit, tar=log.root / marker.tar, key=key, members=members))


def _candidate(ref: SampleRef) -> Candidate:
    where = f"{ref.tar.name}: {ref.key}"
    sample_json = load_json(read_members(ref.tar, {"json": ref.members["json"]})["json"], where)
    metadata = sample_json["metadata"]
    return Candidate(ref=ref, metadata=metadata, measures=Measures.from_json(metadata["measures"], where))
