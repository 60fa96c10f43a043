"""Exactly-once commits: a unit is done if and only if its marker exists, and the first commit counts.

<root>/<unit>-<sha8>.tar         written atomically; an attempt with other bytes gets another name
<root>/_commits/<unit>.json      the marker, created exclusively after its tar is synced to disk
<root>/_quarantine/<unit>.json   the reason why a unit failed
"""

import os
import secrets
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import (
    atomic_file,
    create_file,
    remove_partial_files,
    sha256_file,
    sync_folder,
    translate_write_errors,
    write_atomic,
)
from driveforge.datasets.files.json_record import read_record
from driveforge.datasets.scene import CLIP_ID
from driveforge.datasets.webdataset_shards.format import dump_json
from driveforge.datasets.webdataset_shards.tar_samples import Span, scan_tar
from driveforge.datasets.webdataset_shards.tarball import TarSummary, summarize_tar
from driveforge.pipelines.generate.marker import TAR_NAME, Marker, tar_name

REGENERATE_HINT = "run `driveforge generate` to generate the unit again"


@dataclass(frozen=True, kw_only=True, slots=True)
class QuarantineRecord:
    """A unit that failed, with the reason."""

    unit: str
    reason: str


class CommitLog:
    """The units committed under ``root``; several processes may use the same folder at once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def is_committed(self, unit_id: str) -> bool:
        return self._marker_path(unit_id).exists()

    def commit(self, unit_id: str, scratch_tar: Path) -> bool:
        """Publish a copy of ``scratch_tar`` and mark the unit as done; False if another attempt was first.

        A crash at any moment leaves either the finished commit or no marker, and at most a tar that
        ``remove_unreferenced`` removes.
        """
        if self.is_committed(unit_id):
            return False
        published = self._publish(unit_id, scratch_tar)
        marker = Marker(
            unit=unit_id,
            tar=published.path.name,
            num_bytes=published.num_bytes,
            sha256=published.sha256,
            num_samples=published.num_samples,
            keys=published.keys,
        )
        if create_file(self._marker_path(unit_id), dump_json(asdict(marker))):
            self._quarantine_path(unit_id).unlink(missing_ok=True)
            return True
        if self.read_marker(unit_id).tar != published.path.name:
            published.path.unlink(missing_ok=True)
        return False

    def read_marker(self, unit_id: str) -> Marker:
        """The marker of a committed unit; raises UserError if it is damaged or names another unit."""
        path = self._marker_path(unit_id)
        marker = read_record(path, Marker, REGENERATE_HINT)
        if marker.unit != unit_id:
            raise UserError(f"{path}: unit must be {unit_id}, got {marker.unit}; {REGENERATE_HINT}")
        return marker

    def read_markers(self) -> list[Marker]:
        """Every marker, in the order of unit ids; raises UserError if one is damaged."""
        return [self.read_marker(path.stem) for path in sorted((self.root / "_commits").glob("[!.]*.json"))]

    def read_verified(self, marker: Marker) -> dict[str, dict[str, Span]]:
        """Check every byte of a committed tar; returns the spans of the members of every sample.

        Raises UserError if the tar is missing or changed, or if the marker lists other samples.
        """
        tar = self.root / marker.tar
        if not tar.is_file():
            raise UserError(f"{tar}: the committed tar is missing; {REGENERATE_HINT}")
        if tar.stat().st_size != marker.num_bytes or sha256_file(tar) != marker.sha256:
            raise UserError(f"{tar}: is damaged or was changed after its commit; {REGENERATE_HINT}")
        samples = scan_tar(tar)
        if tuple(samples) != marker.keys:
            raise UserError(f"{self._marker_path(marker.unit)}: keys are not those of {tar.name}; {REGENERATE_HINT}")
        return samples

    def invalidate(self, unit_id: str) -> None:
        """Remove the marker of a damaged unit, so that it is generated again."""
        self._marker_path(unit_id).unlink(missing_ok=True)
        sync_folder(self.root / "_commits")

    def quarantine(self, unit_id: str, reason: str) -> None:
        """Record why ``unit_id`` failed; a later commit of the unit removes the record."""
        write_atomic(self._quarantine_path(unit_id), dump_json(asdict(QuarantineRecord(unit=unit_id, reason=reason))))

    def read_quarantine(self) -> dict[str, str]:
        """The reasons of all failed units, by unit id."""
        paths = sorted((self.root / "_quarantine").glob("[!.]*.json"))
        records = [read_record(path, QuarantineRecord, "delete it; the next run generates its unit") for path in paths]
        return {record.unit: record.reason for record in records}

    def _publish(self, unit_id: str, scratch_tar: Path) -> TarSummary:
        """Copy the tar into ``root``, sync it and read it back, then rename it to a name derived from its bytes."""
        scratch = self.root / f".{unit_id}.{secrets.token_hex(4)}.tmp"
        try:
            with open(scratch_tar, "rb") as source, atomic_file(scratch) as copy:
                shutil.copyfileobj(source, copy, 1 << 20)
            summary = summarize_tar(scratch)
            path = self.root / tar_name(unit_id, summary.sha256)
            with translate_write_errors(path):
                os.replace(scratch, path)
                sync_folder(self.root)
        finally:
            scratch.unlink(missing_ok=True)
        return replace(summary, path=path)

    def _marker_path(self, unit_id: str) -> Path:
        return self.root / "_commits" / f"{_validated_id(unit_id)}.json"

    def _quarantine_path(self, unit_id: str) -> Path:
        return self.root / "_quarantine" / f"{_validated_id(unit_id)}.json"


def remove_unreferenced(root: Path) -> list[Path]:
    """Remove tars of failed attempts that no marker refers to, and scratch files; returns what was removed.

    Call it only while no worker commits. Files with other names are kept.
    """
    committed = {marker.tar for marker in CommitLog(root).read_markers()}
    tars = [path for path in sorted(root.glob("*.tar")) if TAR_NAME.fullmatch(path.name)]
    unreferenced = [path for path in tars if path.name not in committed]
    for path in unreferenced:
        path.unlink()
    return unreferenced + remove_scratch(root)


def remove_scratch(root: Path) -> list[Path]:
    """Remove partial files of processes that were killed."""
    folders = (root, root / "_commits", root / "_quarantine", root / "_attempts")
    return [path for folder in folders for path in remove_partial_files(folder)]


def _validated_id(unit_id: str) -> str:
    if not CLIP_ID.fullmatch(unit_id):
        raise UserError(f"unit id {unit_id!r} may contain only a-z, 0-9, '-' and '_'")
    return unit_id
