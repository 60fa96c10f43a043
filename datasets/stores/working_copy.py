"""A local working copy of a run folder in an object store.

The small files of a run are fetched when a command starts and uploaded when it ends. An object that another command
changed meanwhile is not replaced. Candidates are not copied: they are committed to the store directly. Large outputs,
such as shards, are uploaded and not fetched. A killed command leaves its finished files here, and the next command
uploads them.
"""

import json
import os
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import make_folder, write_atomic
from driveforge.datasets.files.json_record import read_record
from driveforge.datasets.files.lock import file_lock
from driveforge.datasets.stores.location import STORE_RECORD, cache_folder
from driveforge.datasets.stores.record import StoreRecord, read_store_record
from driveforge.datasets.stores.remote import RemoteStore

_FILES_RECORD, _LOCK = ".store-files.json", ".store.lock"
# Folders whose files are read and written in the store itself.
_DIRECT = "candidates"
# Caches and checkpoints of one machine, and the calls that its MLflow client has queued.
_LOCAL = ("latents", "finetune", "mlflow-waiting.jsonl")
# Outputs, which are replaced as a whole.
_OUTPUTS = ("shards", "nuscenes", "clipgt", "lerobot", "review")
# If two commands write these at once, the first counts.
_FIRST_COUNTS = ("mlflow.json",)
# Files of writers in progress, and locks.
_TEMPORARY = re.compile(r"\..*\.(tmp|replaced|lock)")


@dataclass(frozen=True, kw_only=True, slots=True)
class _FileState:
    """An object, and the ``stamp`` of its local copy, size and mtime in ns; None if it was not fetched."""

    e_tag: str
    stamp: tuple[int, int] | None


@contextmanager
def working_copy(url: str, skipped: Collection[str], notify: Callable[[str], None]) -> Iterator["WorkingCopy"]:
    """The working copy of the run folder at ``url``, fetched without the folders ``skipped``.

    Waits, with a message to ``notify``, while another command on this machine uses it.
    """
    copy = WorkingCopy(url, notify)
    copy.store.require_reachable()
    make_folder(copy.folder)
    with file_lock(copy.folder / _LOCK, notify):
        write_atomic(copy.folder / STORE_RECORD, json.dumps(asdict(StoreRecord(url=url))).encode())
        copy.fetch({*skipped, *_OUTPUTS})
        yield copy


def upload_changes(folder: Path) -> None:
    """If ``folder`` is a working copy, upload what changed so far, so that other machines can read it."""
    if (folder / STORE_RECORD).is_file():
        WorkingCopy(read_store_record(folder).url, lambda line: None).upload()


class WorkingCopy:
    """The files of a run on this machine, and what is known of their objects."""

    def __init__(self, url: str, notify: Callable[[str], None]) -> None:
        self.store, self.folder, self._notify = RemoteStore(url), cache_folder(url), notify
        self._states: dict[str, _FileState] = {}

    def fetch(self, skipped: Collection[str]) -> None:
        """Make the local files those of the store, except for files that only changed here."""
        before, remote = self._read_states(), self._list_objects()
        for name in before.keys() - remote.keys():
            if self._stamp(name) == before[name].stamp:
                (self.folder / name).unlink(missing_ok=True)
        for name, e_tag in remote.items():
            state, stamp = before.get(name), self._stamp(name)
            is_fetched = name.split("/")[0] not in skipped
            if state and state.e_tag == e_tag and (stamp is not None or not is_fetched):
                self._states[name] = state  # changes of a killed command are kept
                continue
            if stamp is not None and (state is None or stamp != state.stamp):
                self._notify(f"{self.store.describe(name)} has changed and replaces {self.folder / name}")
            if is_fetched:
                e_tag = self.store.download(name, self.folder / name)
                self._states[name] = _FileState(e_tag=e_tag, stamp=self._stamp(name))
            else:
                (self.folder / name).unlink(missing_ok=True)
                self._states[name] = _FileState(e_tag=e_tag, stamp=None)
        self._write_states()

    def upload(self) -> None:
        """Upload new and changed files, indices last, and delete the objects of deleted files.

        Raises UserError if another command changed one of them meanwhile.
        """
        self._states = self._read_states()
        local = set(self._local_names())
        changed = [name for name in local if self._stamp(name) != self._known_stamp(name)]
        replaced = {name.split("/")[0] for name in changed} & {*_OUTPUTS}
        try:
            for name in sorted(changed, key=lambda name: (name.endswith("/index.json"), name)):
                self._upload_file(name)
            gone = [
                name
                for name in self._states.keys() - local
                if self._known_stamp(name) is not None or name.split("/")[0] in replaced
            ]
            self.store.delete(gone)
            for name in gone:
                del self._states[name]
        finally:
            self._write_states()

    def _upload_file(self, name: str) -> None:
        path, stamp = self.folder / name, self._stamp(name)
        e_tag = self.store.replace(name, path, self._states[name].e_tag if name in self._states else None)
        if e_tag is None:
            if name not in _FIRST_COUNTS and self.store.read(name) != path.read_bytes():
                raise UserError(
                    f"{self.store.describe(name)} was changed by another command since this one started and is not "
                    "replaced; run this again"
                )
            e_tag = self._list_objects()[name]
        self._states[name] = _FileState(e_tag=e_tag, stamp=stamp)

    def _list_objects(self) -> dict[str, str]:
        """The ETags of all objects that belong in the working copy, by name."""
        files, folders = self.store.entries()
        found = dict(files)
        for folder in folders:
            if folder not in (_DIRECT, *_LOCAL):
                found |= {entry["path"]: entry["e_tag"] for entry in self.store.walk(folder)}
        return {name: e_tag for name, e_tag in found.items() if _is_copied(name)}

    def _local_names(self) -> Iterator[str]:
        for parent, folders, files in os.walk(self.folder):
            folders[:] = [name for name in folders if name != _DIRECT]
            names = (Path(parent, name).relative_to(self.folder).as_posix() for name in files)
            yield from filter(_is_copied, names)

    def _known_stamp(self, name: str) -> tuple[int, int] | None:
        return self._states[name].stamp if name in self._states else None

    def _stamp(self, name: str) -> tuple[int, int] | None:
        try:
            status = (self.folder / name).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return status.st_size, status.st_mtime_ns

    def _read_states(self) -> dict[str, _FileState]:
        path = self.folder / _FILES_RECORD
        try:
            return read_record(path, dict[str, _FileState]) if path.exists() else {}
        except UserError:
            return {}  # all files are fetched again

    def _write_states(self) -> None:
        content = json.dumps({name: asdict(state) for name, state in sorted(self._states.items())}).encode()
        write_atomic(self.folder / _FILES_RECORD, content)


def _is_copied(name: str) -> bool:
    parts = name.split("/")
    if parts[0] in _LOCAL or parts[0].startswith(".") or _DIRECT in parts[:-1]:
        return False
    return not any(part.startswith(".driveforge") or _TEMPORARY.fullmatch(part) for part in parts)
