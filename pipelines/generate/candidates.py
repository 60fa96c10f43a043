"""Committed candidates: listed by what they say of themselves, decoded one at a time."""

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
    """Where a committed sample stands: the unit that made it, its tar, its key, and the members' places in the tar."""

    unit: str
    tar: Path
    key: str
    members: Mapping[str, Span] = field(repr=False)

    def read(self) -> dict[str, bytes]:
        """The bytes of every member, by its name behind the key."""
        return read_members(self.tar, self.members)


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A committed clip without its pixels; ``metadata`` is what the generation stage said of it."""

    ref: SampleRef
    metadata: Mapping[str, Any]
    measures: Measures

    @property
    def clip_id(self) -> str:
        return self.ref.key

    def load(self) -> Clip:
        """The clip, decoded."""
        return clip_from_members(self.ref.read(), f"{self.ref.tar.name}: {self.clip_id}")[0]


def iter_candidates(root: Path) -> Iterator[Candidate]:
    """Every committed candidate under ``root`` in plan order; a UserError where a byte of its tar has changed since."""
    log = CommitLog(root)
    for marker in log.read_markers():
        for key, members in log.read_verified(marker).items():
            yield _candidate(SampleRef(unit=marker.unit, tar=root / marker.tar, key=key, members=members))


def _candidate(ref: SampleRef) -> Candidate:
    where = f"{ref.tar.name}: {ref.key}"
    sample_json = load_json(read_members(ref.tar, {"json": ref.members["json"]})["json"], where)
    metadata = sample_json["metadata"]
    return Candidate(ref=ref, metadata=metadata, measures=Measures.from_json(metadata["measures"], where))
