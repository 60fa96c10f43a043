"""The command ``verify``: check every byte of an export against its index, and every sample against the format."""

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import cv2
import numpy as np

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import sha256_file
from driveforge.datasets.progress import track
from driveforge.datasets.stores.location import is_store_url, normalized_url
from driveforge.datasets.stores.opening import open_store
from driveforge.datasets.stores.remote import RemoteStore
from driveforge.datasets.webdataset_shards.arrays import RENDERED_MEMBERS, check_arrays, check_rendered
from driveforge.datasets.webdataset_shards.data_card import NO_SPLIT
from driveforge.datasets.webdataset_shards.exported import check_disclosure
from driveforge.datasets.webdataset_shards.format import (
    SCENE_MEMBERS,
    SCHEMA_VERSION,
    clip_from_members,
    load_json,
    video_member,
)
from driveforge.datasets.webdataset_shards.index import INDEX_FILE, SHARD_NAME, FileEntry, Index, ShardEntry, read_index
from driveforge.datasets.webdataset_shards.packing import CARD_FILE, CROISSANT_FILE
from driveforge.datasets.webdataset_shards.tar_samples import read_members, scan_tar
from driveforge.pipelines.console import print_result
from driveforge.pipelines.run_dir import require_run

if TYPE_CHECKING:
    from driveforge.pipelines.config.config import Config


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyReport:
    """What was checked, and one line for each problem; ``extras`` are files that the index does not list."""

    root: Path | str
    num_shards: int
    num_samples: int
    num_bytes: int
    problems: tuple[str, ...]
    extras: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.problems


def main(config: "Config", args: argparse.Namespace) -> int:
    """Verify the given folder, or the shards of the run; exit status 1 if there is a problem."""
    if args.directory is None:
        require_run(config.run_dir)
        report = verify(config.run.shards)
    elif is_store_url(str(args.directory)):
        report = verify(RemoteStore(normalized_url(args.directory)))
    else:
        report = verify(Path(args.directory))
    for problem in report.problems:
        print_result(problem, prefix="problem  ", style="red")
    if report.extras:
        print_result(f"not part of the export: {_format_few(set(report.extras))}")
    verdict = "no problems" if report.ok else f"{len(report.problems)} problems"
    print_result(
        f"{report.root}: {report.num_samples} clips in {report.num_shards} shards, {report.num_bytes} bytes: {verdict}"
    )
    return 0 if report.ok else 1


def verify(folder: Path | RemoteStore) -> VerifyReport:
    """Check the export in ``folder``: sizes, digests, counts and keys of the index, then every member of every sample.

    Videos are decoded and must be marked as generated; poses and tracks are checked as for any clip. All problems are
    collected. Raises UserError only if the index cannot be read. Shards in an object store are downloaded one by one.
    """
    store = open_store(folder)
    if not isinstance(store, RemoteStore):
        return _verify(store.folder, [path.name for path in store.folder.glob("*")], lambda name: nullcontext())
    store.require_reachable()
    names = [file.name for file in store.files()]
    with TemporaryDirectory(prefix="driveforge-verify-") as temporary:
        root = Path(temporary)
        for name in names:
            if not name.endswith(".tar"):
                store.download(name, root / name)
        try:
            return replace(_verify(root, names, partial(_downloaded, store, root)), root=store.url)
        except UserError as error:
            raise UserError(str(error).replace(temporary, store.url)) from None


@contextmanager
def _downloaded(store: RemoteStore, root: Path, name: str) -> Iterator[None]:
    """A copy of a shard in ``root`` during the block, if the store has it."""
    with suppress(FileNotFoundError):
        store.download(name, root / name)
    yield
    (root / name).unlink(missing_ok=True)


def _verify(root: Path, names: Iterable[str], available: Callable[[str], AbstractContextManager[None]]) -> VerifyReport:
    """The report on an export of the files ``names``, whose shards are in ``root`` while they are ``available``."""
    index = read_index(root)
    extras = _find_extras(names, index)
    problems = [
        *_check_index(root, index),
        *(f"{tar}: is not in {INDEX_FILE}" for tar in extras if _is_unlisted_shard(tar)),
    ]
    first_shard: dict[str, str] = {}
    for shard in track(index.shards, "Verifying"):
        with available(shard.name):
            problems += (f"{shard.name}: {problem}" for problem in _check_shard(root / shard.name, shard))
        for key in shard.keys:
            if (first := first_shard.setdefault(key, shard.name)) != shard.name:
                problems.append(f"{shard.name}: {key} is in {first} too")
    return VerifyReport(
        root=root,
        num_shards=len(index.shards),
        num_samples=sum(len(shard.keys) for shard in index.shards),
        num_bytes=sum(shard.num_bytes for shard in index.shards),
        problems=tuple(" ".join(problem.split()) for problem in problems),
        extras=tuple(name for name in extras if not _is_unlisted_shard(name)),
    )


def _find_extras(names: Iterable[str], index: Index) -> list[str]:
    """Files that the index does not list, such as indices of other readers and leftovers of a killed export."""
    listed = {INDEX_FILE, *index.files, *(shard.name for shard in index.shards)}
    return sorted(name for name in names if name not in listed)


def _is_unlisted_shard(name: str) -> bool:
    """Whether a reader of ``*.tar`` would read it as a shard, although its name is not one of an export."""
    return name.endswith(".tar") and not name.startswith(".") and not SHARD_NAME.fullmatch(name)


def _check_index(root: Path, index: Index) -> Iterator[str]:
    """Problems of the totals and of the documents next to the shards."""
    for total, counted in (
        ("num_samples", sum(shard.num_samples for shard in index.shards)),
        ("num_bytes", sum(shard.num_bytes for shard in index.shards)),
    ):
        if counted != getattr(index, total):
            yield f"{INDEX_FILE}: {total} is {getattr(index, total)}, the sum over its shards is {counted}"
    splits: Counter[str] = Counter()
    for shard in index.shards:
        splits[shard.split] += shard.num_samples
    if index.splits != splits:
        yield f"{INDEX_FILE}: splits are {index.splits}, the sums over its shards are {dict(splits)}"
    order = [(shard.split, shard.name) for shard in index.shards]
    if order != sorted(order):  # the order of shards is the order of clips for readers
        yield f"{INDEX_FILE}: shards are not in the order of their splits and names"
    for name in (CROISSANT_FILE, CARD_FILE):
        if name not in index.files:
            yield f"{INDEX_FILE}: files does not list {name}"
    for name, file in index.files.items():
        problems = list(_check_bytes(root / name, file))
        yield from (f"{name}: {problem}" for problem in problems)
        if name == CROISSANT_FILE and not problems and json.loads((root / name).read_bytes())["name"] != index.name:
            yield f"{INDEX_FILE}: name is {index.name}, which differs from {CROISSANT_FILE}"


def _check_shard(path: Path, shard: ShardEntry) -> Iterator[str]:
    if not path.is_file():
        yield "is missing"
        return
    yield from _check_bytes(path, shard)
    try:
        samples = scan_tar(path)
    except UserError as error:
        yield f"is damaged: {error}"
        return
    if len(samples) != shard.num_samples or tuple(samples) != shard.keys:
        yield (
            f"holds {len(samples)} samples, the index says {shard.num_samples}; missing: "
            f"{_format_few(set(shard.keys) - set(samples))}; unknown: {_format_few(set(samples) - set(shard.keys))}"
        )
    for key, spans in samples.items():
        try:
            members = read_members(path, spans)
        except UserError as error:
            yield f"{key}: {error}"
        else:
            yield from (f"{key}: {problem}" for problem in _check_sample(key, members, shard.split))


def _check_bytes(path: Path, expected: FileEntry | ShardEntry) -> Iterator[str]:
    if not path.is_file():
        yield "is missing"
        return
    if (size := path.stat().st_size) != expected.num_bytes:
        yield f"has {size} bytes, the index says {expected.num_bytes}"
    try:
        digest = sha256_file(path)
    except OSError as error:
        yield f"cannot be read ({error.strerror})"
        return
    if digest != expected.sha256:
        yield "differs from its sha256 in the index"


def _check_sample(key: str, members: Mapping[str, bytes], split: str) -> Iterator[str]:
    try:
        clip, _ = clip_from_members(members, "sample")
    except UserError as error:
        yield str(error).removeprefix("sample: ")
        return
    if clip.scene.clip_id != key:
        yield f"its json says clip_id {clip.scene.clip_id}"
    if (clip.scene.split or NO_SPLIT) != split:
        yield f"its json says split {clip.scene.split or 'none'}, the index says {split}"
    known = {
        *SCENE_MEMBERS,
        *RENDERED_MEMBERS,
        "thumb.jpg",
        *(video_member(camera.name) for camera in clip.scene.cameras),
    }
    if unknown := set(members) - known:
        yield f"members {_format_few(unknown)} do not belong to a sample"
    thumbnail = np.frombuffer(members.get("thumb.jpg", b""), np.uint8)
    if not thumbnail.size or cv2.imdecode(thumbnail, cv2.IMREAD_COLOR) is None:
        yield "thumb.jpg is missing or not an image"
    if load_json(members["json"], "json")["schema_version"] >= SCHEMA_VERSION:
        yield from check_arrays(members, clip.scene)
    yield from check_rendered(members, clip.scene)
    yield from check_disclosure(members)


def _format_few(names: set[str]) -> str:
    shown = sorted(names)[:3]
    return (", ".join(shown) + (f" and {len(names) - 3} more" if len(names) > 3 else "")) or "none"
