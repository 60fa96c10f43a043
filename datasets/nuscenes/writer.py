"""Writer of nuScenes data sets: recordings are added one by one, the thirteen tables are written at the end."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic_folder import SCRATCH_MARKER, create_scratch, remove_scratch
from driveforge.datasets.nuscenes.rows import VEHICLE, FrameFunction, write_recording
from driveforge.datasets.nuscenes.taxonomy import TableRows, vocabulary_rows
from driveforge.datasets.scene import Scene

TABLES = (
    "category", "attribute", "visibility", "instance", "sensor", "calibrated_sensor", "ego_pose", "log", "scene",
    "sample", "sample_data", "sample_annotation", "map",
)  # fmt: skip


class NuScenesWriter:
    """Writes recordings under ``root`` so that ``NuScenes(version, root)`` loads and renders them.

    Images are written when a recording is added; the tables appear together when the ``with`` block succeeds, and not
    at all if it fails. Until then, rows are kept as JSON text, less than a kilobyte per image. To use several
    processes, call ``write_recording`` in each and ``add_rows`` here, in the order of the scenes: same bytes.
    Tables of an earlier writer are replaced; raises UserError instead of replacing those of another data set.
    """

    def __init__(self, root: Path, version: str = "v1.0-mini") -> None:
        self._root, self._version = root, version
        _check_replaceable(root / version)
        # Dicts as ordered sets: equal rows of several recordings, such as sensors, are stored once.
        self._lines: dict[str, dict[str, None]] = {table: {} for table in TABLES}
        self._splits: dict[str, list[str]] = {}
        self._names: set[str] = set()
        self._add_lines(vocabulary_rows())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._write_tables()

    def add_recording(self, scene: Scene, frame: FrameFunction, *, keys: Sequence[int] | None = None) -> None:
        """Write ``scene`` with the pixels of ``frame(camera_index, frame_index)``; see ``write_recording``."""
        self._reserve_name(scene.clip_id)
        self._collect_rows(scene.split, write_recording(self._root, scene, frame, keys=keys))

    def add_rows(self, scene: Scene, rows: TableRows) -> None:
        """Add the rows that ``write_recording`` returned for ``scene``, in this process or another."""
        self._reserve_name(scene.clip_id)
        self._collect_rows(scene.split, rows)

    def _reserve_name(self, name: str) -> None:
        if name in self._names:
            raise UserError(f"{self._root}: two recordings are named {name!r}; clip ids must be unique")
        self._names.add(name)

    def _collect_rows(self, split: str, rows: TableRows) -> None:
        self._add_lines(rows)
        if split:
            self._splits.setdefault(split, []).extend(row["name"] for row in rows["scene"])

    def _add_lines(self, rows: TableRows) -> None:
        for table, records in rows.items():
            self._lines[table].update(dict.fromkeys(map(json.dumps, records)))

    def _write_tables(self) -> None:
        """Write all tables to a temporary folder, then replace the old ones by renaming it."""
        if not self._names:
            raise UserError(f"{self._root}: no recording was added, so there are no tables to write")
        target = self._root / self._version
        partial, replaced = self._root / f".{self._version}.partial", self._root / f".{self._version}.replaced"
        create_scratch(partial)
        remove_scratch(replaced)
        for table, lines in self._lines.items():
            (partial / f"{table}.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")
        if self._splits:
            (partial / "splits.json").write_text(json.dumps(self._splits, indent=1, sort_keys=True) + "\n")
        (partial / SCRATCH_MARKER).unlink()
        if target.exists():
            (target / SCRATCH_MARKER).touch()
            os.replace(target, replaced)
        os.replace(partial, target)
        remove_scratch(replaced)


def _check_replaceable(tables: Path) -> None:
    if not tables.exists():
        return
    try:
        vehicles = {log["vehicle"] for log in json.loads((tables / "log.json").read_bytes())}
    except (OSError, ValueError, TypeError, KeyError):
        vehicles = set()
    if vehicles != {VEHICLE}:
        raise UserError(f"{tables} exists and was not written by driveforge; choose another folder or version")
