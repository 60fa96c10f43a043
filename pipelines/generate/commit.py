"""Exactly-once commits: a unit is done if and only if its marker exists, and the first commit counts.

<root>/<unit>-<sha8>.tar         complete from the start; an attempt with other bytes gets another name
<root>/_commits/<unit>.json      the marker, created exclusively after its tar is synced to disk or uploaded
<root>/_quarantine/<unit>.json   the reason why a unit failed

The root is a local folder or a prefix in an object store.
"""

from collections.abc import Iterable, Iterator, Set
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import remove_partial_files, sha256_file
from driveforge.datasets.files.json_record import parse_record
from driveforge.datasets.scene import CLIP_ID
from driveforge.datasets.stores.interface import Store
from driveforge.datasets.stores.opening import open_store
from driveforge.datasets.stores.record import read_stored_record, read_with_hint
from driveforge.datasets.webdataset_shards.format import dump_json
from driveforge.datasets.webdataset_shards.tar_samples import Span, scan_tar
from driveforge.datasets.webdataset_shards.tarball import summarize_tar
from driveforge.pipelines.generate.marker import TAR_NAME, Marker, tar_name
from driveforge.pipelines.generate.requests import Request, request_to_json

REGENERATE_HINT = "run `driveforge generate` to generate the unit again"
COMMITS_FOLDER, QUARANTINE_FOLDER = "_commits", "_quarantine"
_JSON = ".json"


@dataclass(frozen=True, kw_only=True, slots=True)
class QuarantineRecord:
    """A unit that failed: the traceback or exit reason of its last attempt, and its requests.

    Records of older versions have no requests.
    """

    unit: str
    reason: str
    requests: tuple[dict[str, Any], ...] = ()


class CommitLog:
    """The units committed under a root; several processes may use the same root at once."""

    def __init__(self, root: Path | Store) -> None:
        self.store = open_store(root)

    @property
    def root(self) -> Path:
        """The local folder with the committed tars, or with their cached copies."""
        return self.store.folder

    def is_committed(self, unit_id: str) -> bool:
        return self.store.exists(_marker_name(unit_id))

    def committed_units(self) -> Iterator[str]:
        """The ids of all committed units, in any order."""
        return (name.removesuffix(_JSON) for name in self.store.names(COMMITS_FOLDER) if name.endswith(_JSON))

    def commit(self, unit_id: str, scratch_tar: Path) -> bool:
        """Publish a copy of ``scratch_tar`` and mark the unit as done; False if another attempt was first.

        A crash at any moment leaves either the finished commit or no marker, and at most a tar that no marker names.
        """
        if self.is_committed(unit_id):
            return False
        with self.store.stage(scratch_tar) as staged:
            summary = summarize_tar(staged.path)
            name = tar_name(_validated_id(unit_id), summary.sha256)
            staged.publish(name)
        marker = Marker(
            unit=unit_id,
            tar=name,
            num_bytes=summary.num_bytes,
            sha256=summary.sha256,
            num_samples=summary.num_samples,
            keys=summary.keys,
        )
        if self.store.create(_marker_name(unit_id), dump_json(asdict(marker))):
            self.store.delete([_quarantine_name(unit_id)])
            return True
        if self.read_marker(unit_id).tar != name:
            self.store.delete([name])
        return False

    def read_marker(self, unit_id: str) -> Marker:
        """The marker of a committed unit; raises UserError if it is damaged or names another unit."""
        return self._parse_marker(unit_id, read_with_hint(self.store, _marker_name(unit_id), REGENERATE_HINT))

    def read_markers(self) -> list[Marker]:
        """Every marker, in the order of unit ids; raises UserError if one is damaged."""
        units = sorted(self.committed_units())
        contents = self.store.read_all(map(_marker_name, units))
        return [self._parse_marker(unit, content) for unit, content in zip(units, contents, strict=True)]

    def read_verified(self, marker: Marker) -> dict[str, dict[str, Span]]:
        """Check every byte of a committed tar; returns the spans of the members of every sample.

        Raises UserError if the tar is missing or changed, or if the marker lists other samples.
        """
        tar, where = self.store.fetch(marker.tar), self.store.describe(marker.tar)
        if self.store.is_remote and not _is_intact(tar, marker):
            tar = self.store.fetch(marker.tar, again=True)  # only the cached copy may be damaged
        if not tar.is_file():
            raise UserError(f"{where}: the committed tar is missing; {REGENERATE_HINT}")
        if not _is_intact(tar, marker):
            raise UserError(f"{where}: is damaged or was changed after its commit; {REGENERATE_HINT}")
        samples = scan_tar(tar)
        if tuple(samples) != marker.keys:
            raise UserError(
                f"{self.store.describe(_marker_name(marker.unit))}: keys are not those of {tar.name}; {REGENERATE_HINT}"
            )
        return samples

    def invalidate(self, unit_id: str) -> None:
        """Remove the marker of a damaged unit, so that it is generated again."""
        self.store.delete([_marker_name(unit_id)])

    def quarantine(self, unit_id: str, reason: str, requests: Iterable[Request] = ()) -> None:
        """Record why ``unit_id`` failed; a later commit of the unit removes the record."""
        try:
            records = tuple(map(request_to_json, requests))
        except UserError:  # their stored scenes are damaged, which the reason says
            records = ()
        record = QuarantineRecord(unit=unit_id, reason=reason, requests=records)
        self.store.write(_quarantine_name(unit_id), dump_json(asdict(record)))

    def read_quarantine(self) -> dict[str, str]:
        """The reasons of all failed units, by unit id."""
        names = sorted(name for name in self.store.names(QUARANTINE_FOLDER) if name.endswith(_JSON))
        hint = "delete it; the next run generates its unit"
        paths = [f"{QUARANTINE_FOLDER}/{name}" for name in names]
        records = [read_stored_record(self.store, path, QuarantineRecord, hint) for path in paths]
        return {record.unit: record.reason for record in records}

    def _parse_marker(self, unit_id: str, content: bytes) -> Marker:
        where = self.store.describe(_marker_name(unit_id))
        marker = parse_record(content, Marker, where, REGENERATE_HINT)
        if marker.unit != unit_id:
            raise UserError(f"{where}: unit must be {unit_id}, got {marker.unit}; {REGENERATE_HINT}")
        return marker


def remove_unreferenced(root: Path, committed: Set[str] | None = None) -> list[Path]:
    """Remove tars of failed attempts that no marker refers to, and scratch files; returns what was removed.

    ``committed`` are the committed units, if they are known. Call it only while no worker commits. Files with other
    names are kept.
    """
    log = CommitLog(root)
    if committed is None:
        committed = set(log.committed_units())
    tars = [root / name for name in unreferenced_tars(log, committed, log.store.names())]
    for path in tars:
        path.unlink()
    return sorted(tars) + remove_scratch(root)


def unreferenced_tars(log: CommitLog, committed: Set[str], names: Iterable[str]) -> list[str]:
    """Those of ``names`` that are of our tars and that no marker names; reads the markers of units with several."""
    first: dict[str, str] = {}
    several: dict[str, list[str]] = {}
    unreferenced = []
    for name in names:
        unit = name.rpartition("-")[0]
        if not TAR_NAME.fullmatch(name):
            continue
        if unit not in committed:
            unreferenced.append(name)
        elif (other := first.setdefault(unit, name)) is not name:
            several.setdefault(unit, [other]).append(name)
    for unit, tars in several.items():
        with suppress(UserError):  # a damaged marker is found by the check of committed units
            named = log.read_marker(unit).tar
            unreferenced += [name for name in tars if name != named]
    return unreferenced


def remove_scratch(root: Path) -> list[Path]:
    """Remove partial files of processes that were killed."""
    folders = (root, root / COMMITS_FOLDER, root / QUARANTINE_FOLDER, root / "_attempts")
    return [path for folder in folders for path in remove_partial_files(folder)]


def _is_intact(tar: Path, marker: Marker) -> bool:
    return tar.is_file() and tar.stat().st_size == marker.num_bytes and sha256_file(tar) == marker.sha256


def _marker_name(unit_id: str) -> str:
    return f"{COMMITS_FOLDER}/{_validated_id(unit_id)}{_JSON}"


def _quarantine_name(unit_id: str) -> str:
    return f"{QUARANTINE_FOLDER}/{_validated_id(unit_id)}{_JSON}"


def _validated_id(unit_id: str) -> str:
    if not CLIP_ID.fullmatch(unit_id):
        raise UserError(f"unit id {unit_id!r} may contain only a-z, 0-9, '-' and '_'")
    return unit_id
