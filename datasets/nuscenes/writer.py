"""Genuine nuScenes tables: recordings go in one by one, thirteen JSON files come out at the end."""

import json
import os
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

    Images are on disk as soon as a recording is added; the tables appear together when the ``with`` block ends well,
    and not at all when it fails. In between they are held as JSON text, less than a kilobyte an image. For several
    processes, call ``write_recording`` in each and ``add_rows`` here, in the order of the scenes: same bytes.
    Tables that an earlier writer left are replaced; a UserError keeps those of any other data set from harm.
    """

    def __init__(self, root: Path, version: str = "v1.0-mini") -> None:
        self._root, self._version = root, version
        _check_replaceable(root / version)
        # Keys keep the order of insertion, and sensors that several recordings name collapse to one.
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

    def add_recording(self, scene: Scene, frame: FrameFunction, *, key_frame_every: int = 5) -> None:
        """Write ``scene``, whose pixels ``frame(camera_index, frame_index)`` gives; see ``write_recording``."""
        self._reserve_name(scene.clip_id)
        self._collect_rows(scene.split, write_recording(self._root, scene, frame, key_frame_every=key_frame_every))

    def add_rows(self, scene: Scene, rows: TableRows) -> None:
        """Take in what ``write_recording`` gave for ``scene``, in this process or another."""
        self._reserve_name(scene.clip_id)
        self._collect_rows(scene.split, rows)

    def _reserve_name(self, name: str) -> None:
        if name in self._names:
            raise UserError(f"{self._root}: two recordings are called {name!r}; clip ids must differ")
        self._names.add(name)

    def _collect_rows(self, split: str, rows: TableRows) -> None:
        self._add_lines(rows)
        if split:
            self._splits.setdefault(split, []).extend(row["name"] for row in rows["scene"])

    def _add_lines(self, rows: TableRows) -> None:
        for table, records in rows.items():
            self._lines[table].update(dict.fromkeys(map(json.dumps, records)))

    def _write_tables(self) -> None:
        """All tables are written aside first, then take their place by a rename."""
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
        raise UserError(f"{tables} exists and was not made by driveforge; choose another folder or version")
