"""Exactly-once: a unit of work counts as done when, and only when, its marker exists, and the first marker wins.

<root>/<unit>-<sha8>.tar         published whole; another attempt with other bytes gets another name
<root>/_commits/<unit>.json      the marker, created exclusively, after its tar is on the disk
<root>/_quarantine/<unit>.json   why a unit was given up
"""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from datasets.durable import create_file, replace_file, sync_folder
from datasets.errors import UserError
from datasets.scene import CLIP_ID
from datasets.shards import dump_json
from pipelines.shards.tarball import TarSummary, summarize

# What _publish names its tars: the unit, and the beginning of the tar's own hash.
_TAR_NAME = re.compile(r"[a-z0-9_-]+-[0-9a-f]{8}\.tar")


class CommitLog:
    """The units committed under ``root``; any number of processes may use the same folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def is_committed(self, unit_id: str) -> bool:
        return self._marker(unit_id).exists()

    def commit(self, unit_id: str, scratch_tar: Path, record: Mapping[str, Any]) -> bool:
        """Publish a copy of ``scratch_tar`` and mark the unit as done; False if another attempt was first.

        The marker holds ``unit, tar`` (its name under the root), ``num_bytes, sha256, num_samples, keys, record``.
        A crash at any moment leaves either no marker, and at most a tar that ``gc`` removes, or the finished commit.
        """
        if self.is_committed(unit_id):
            return False
        published = self._publish(unit_id, scratch_tar)
        marker = {
            "unit": unit_id,
            "tar": published.path.name,
            "num_bytes": published.num_bytes,
            "sha256": published.sha256,
            "num_samples": published.num_samples,
            "keys": published.keys,
            "record": dict(record),
        }
        if create_file(self._marker(unit_id), dump_json(marker)):
            self._quarantine(unit_id).unlink(missing_ok=True)
            return True
        if _read(self._marker(unit_id))["tar"] != published.path.name:
            published.path.unlink(missing_ok=True)
        return False

    def markers(self) -> list[dict[str, Any]]:
        """Every marker, by unit id; a UserError where a committed tar has gone or changed its size since."""
        markers = [_read(path) for path in sorted((self.root / "_commits").glob("[!.]*.json"))]
        for marker in markers:
            tar = self.root / marker["tar"]
            if not tar.exists() or tar.stat().st_size != marker["num_bytes"]:
                raise UserError(
                    f"{tar}: the committed tar is missing or has changed; "
                    f"delete {self._marker(marker['unit'])} to have its unit made again"
                )
        return markers

    def quarantine(self, unit_id: str, text: str) -> None:
        """Note why ``unit_id`` was given up; a later commit of the unit takes the note away."""
        replace_file(self._quarantine(unit_id), dump_json({"unit": unit_id, "text": text}))

    def quarantined(self) -> dict[str, str]:
        """The reason of every unit that was given up, by unit id."""
        notes = [_read(path) for path in sorted((self.root / "_quarantine").glob("[!.]*.json"))]
        return {note["unit"]: note["text"] for note in notes}

    def _publish(self, unit_id: str, scratch_tar: Path) -> TarSummary:
        """Copy the tar next to its place, sync and read back the copy, then give it a name that its bytes decide."""
        self.root.mkdir(parents=True, exist_ok=True)
        with open(scratch_tar, "rb") as source, tempfile.NamedTemporaryFile(
            dir=self.root, prefix=f".{unit_id}.", suffix=".tmp", delete=False
        ) as copy:  # fmt: skip
            shutil.copyfileobj(source, copy, 1 << 20)
            copy.flush()
            os.fsync(copy.fileno())
        summary = summarize(Path(copy.name))
        path = self.root / f"{unit_id}-{summary.sha256[:8]}.tar"
        os.chmod(copy.name, 0o644)
        os.replace(copy.name, path)
        sync_folder(self.root)
        return replace(summary, path=path)

    def _marker(self, unit_id: str) -> Path:
        return self.root / "_commits" / f"{_checked(unit_id)}.json"

    def _quarantine(self, unit_id: str) -> Path:
        return self.root / "_quarantine" / f"{_checked(unit_id)}.json"


def gc(root: Path) -> list[Path]:
    """Remove what no marker speaks of: tars of lost or dead attempts, scratch. Run it while nothing is committing.

    Files without a name of ours stay.
    """
    committed = {marker["tar"] for marker in CommitLog(root).markers()}
    ours = (path for path in sorted(root.glob("*.tar")) if _TAR_NAME.fullmatch(path.name))
    leftovers = [path for path in ours if path.name not in committed]
    leftovers += [path for folder in (root, root / "_commits", root / "_quarantine") for path in folder.glob(".*.tmp")]
    for path in leftovers:
        path.unlink()
    return leftovers


def _checked(unit_id: str) -> str:
    if not CLIP_ID.fullmatch(unit_id):
        raise UserError(f"unit id {unit_id!r} may hold only a-z, 0-9, '-' and '_'")
    return unit_id


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); delete it to have its unit made again") from error
