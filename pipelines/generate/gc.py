"""The command ``gc``: list, and with ``--delete`` remove, files of a run that nothing refers to.

Only names that driveforge itself gives are considered. On disk, the lock of the run folder keeps other commands out. In
an object store, where several drivers may commit at once, only objects of a minimum age are considered: an attempt that
is still running has uploaded its tar a moment ago.
"""

import argparse
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich import get_console
from rich.table import Table

from driveforge.datasets.files.atomic_folder import SCRATCH_MARKER, remove_scratch
from driveforge.datasets.stores.interface import Store, StoredFile
from driveforge.datasets.stores.opening import open_store
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.console import format_size, plain_text, print_result
from driveforge.pipelines.generate.commit import COMMITS_FOLDER, QUARANTINE_FOLDER, CommitLog, unreferenced_tars
from driveforge.pipelines.generate.executors.attempts import ATTEMPTS_FOLDER
from driveforge.pipelines.generate.requests import FIRST_FRAMES_FOLDER, SCENES_FOLDER
from driveforge.pipelines.generate.units import PLAN_FILE, StoredRequests, read_plan

_CONTENT_NAME = re.compile(r"[0-9a-f]{32}\.(npy|json)")
_INPUTS = {FIRST_FRAMES_FOLDER: "first frames", SCENES_FOLDER: "an edited scene"}
_RECORD_NAME = re.compile(r"([a-z0-9_-]+)\.json")
_SCRATCH_NAME = re.compile(r"\.+[a-z0-9_-]+(\.[a-z0-9]+)*\.tmp")
_SCRATCH_FOLDER_NAME = re.compile(r"\.[a-z0-9_-]+\.(tmp|replaced)")
# Rows of the printed table; the sums count all.
_MAX_ROWS = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class Unreferenced:
    """A file, or the folder of a killed writer, that nothing refers to."""

    name: str
    num_bytes: int
    reason: str


def main(config: Config, args: argparse.Namespace) -> None:
    """List what nothing refers to, or remove it."""
    store = open_store(config.run.candidates)
    found = [*find_unreferenced(store, args.older_than * 3600), *find_scratch_folders(config.run_dir)]
    get_console().print(_table(found))
    if args.delete:
        remove(store, config.run_dir, found)
    total = sum(one.num_bytes for one in found)
    verb = "removed" if args.delete else "may be removed, with --delete"
    print_result(f"{len(found)} files, {format_size(total)} {verb}: {store.describe()}")
    if store.is_remote:
        print_result(
            f"objects younger than {args.older_than:g} h are not considered; incomplete multipart uploads are "
            "not listed: a lifecycle rule of the bucket aborts them (docs/stores.md)"
        )


def find_unreferenced(store: Store, min_seconds: float) -> list[Unreferenced]:
    """The files among candidates that nothing refers to; in an object store, those of at least ``min_seconds``."""
    log = CommitLog(store)
    # Listed before the markers: what is committed meanwhile is then not taken for unreferenced.
    tars = {file.name: file for file in store.files()}
    inputs = {folder: list(store.files(folder)) for folder in _INPUTS}
    committed = set(log.committed_units())
    latest = time.time() - min_seconds if store.is_remote else float("inf")
    found = [
        Unreferenced(name=name, num_bytes=tars[name].num_bytes, reason="tar of an attempt that was not committed")
        for name in unreferenced_tars(log, committed, tars)
        if tars[name].modified <= latest
    ]
    for folder, files in inputs.items():
        found += _unplanned_inputs(store, folder, [file for file in files if file.modified <= latest])
    for folder, kind in ((QUARANTINE_FOLDER, "quarantine record"), (ATTEMPTS_FOLDER, "record of attempts")):
        for file in store.files(folder):
            named = _RECORD_NAME.fullmatch(file.name)
            if named and named[1] in committed and file.modified <= latest:
                reason = f"{kind} of a unit that is committed now"
                found.append(Unreferenced(name=f"{folder}/{file.name}", num_bytes=file.num_bytes, reason=reason))
    return found if store.is_remote else [*found, *_scratch_files(store.folder)]


def _unplanned_inputs(store: Store, folder: str, files: list[StoredFile]) -> Iterator[Unreferenced]:
    """Files of ``FIRST_FRAMES_FOLDER`` or ``SCENES_FOLDER`` that no request of the plan names."""
    store.fetch(PLAN_FILE, again=True)
    if not files or not store.exists(PLAN_FILE):
        return  # without a plan it is unknown what is needed
    key = {FIRST_FRAMES_FOLDER: "first_frames", SCENES_FOLDER: "scene"}[folder]
    planned = {
        str(record[key])
        for unit in read_plan(store.folder).units
        if isinstance(unit.requests, StoredRequests)
        for record in unit.requests.records
    }
    for file in files:
        if _CONTENT_NAME.fullmatch(file.name) and file.name not in planned:
            reason = f"{_INPUTS[folder]} that the plan does not name"
            yield Unreferenced(name=f"{folder}/{file.name}", num_bytes=file.num_bytes, reason=reason)


def _scratch_files(root: Path) -> Iterator[Unreferenced]:
    for folder in ("", COMMITS_FOLDER, QUARANTINE_FOLDER, ATTEMPTS_FOLDER, *_INPUTS, "source_frames"):
        for path in sorted((root / folder).glob(".*.tmp")):
            if path.is_file() and _SCRATCH_NAME.fullmatch(path.name):
                name, size = path.relative_to(root).as_posix(), path.stat().st_size
                yield Unreferenced(name=name, num_bytes=size, reason="temporary file of a killed process")


def find_scratch_folders(run_dir: Path) -> list[Unreferenced]:
    """Folders next to the outputs of a run that a killed command marked as incomplete."""
    found = []
    for path in sorted(run_dir.glob(".*")):
        if _SCRATCH_FOLDER_NAME.fullmatch(path.name) and not path.is_symlink() and (path / SCRATCH_MARKER).is_file():
            size = sum(entry.lstat().st_size for entry in path.rglob("*") if not entry.is_dir())
            reason = "temporary folder of a killed command"
            found.append(Unreferenced(name=f"../{path.name}", num_bytes=size, reason=reason))
    return found


def remove(store: Store, run_dir: Path, found: list[Unreferenced]) -> None:
    """Remove what ``find_unreferenced`` and ``find_scratch_folders`` found."""
    store.delete(one.name for one in found if not one.name.startswith("../"))
    for one in found:
        if one.name.startswith("../"):
            remove_scratch(run_dir / one.name.removeprefix("../"))


def _table(found: list[Unreferenced]) -> Table:
    """The largest files, and the sums by reason."""
    table = Table("file", "size", "reason")
    for one in sorted(found, key=lambda one: -one.num_bytes)[:_MAX_ROWS]:
        table.add_row(plain_text(one.name), format_size(one.num_bytes), one.reason)
    table.add_section()
    for reason, count in Counter(one.reason for one in found).most_common():
        size = sum(one.num_bytes for one in found if one.reason == reason)
        table.add_row(f"{count} files", format_size(size), reason)
    return table
