"""Verify: every byte of an export against its index, and every sample against the shard format."""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from rich.progress import track

from datasets.durable import sha256_of
from datasets.errors import UserError
from datasets.shard_source import INDEX_FILE, read_index
from datasets.shards import clip_from_members, video_member
from datasets.tar_samples import read_members, scan_tar
from pipelines.console import show

if TYPE_CHECKING:
    from pipelines.settings.config import Config


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyReport:
    """What was checked, and every problem found, one line each."""

    root: Path
    num_shards: int
    num_samples: int
    num_bytes: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.problems


def main(config: "Config", args: argparse.Namespace) -> int:
    """Verify the given folder, or the run's shards; status 1 where anything is wrong."""
    report = verify(args.directory or config.run_dir / "shards")
    for problem in report.problems:
        show(problem, head="wrong  ", style="red")
    verdict = "all as it should be" if report.ok else f"{len(report.problems)} problems"
    show(
        f"{report.root}: {report.num_samples} clips in {report.num_shards} shards, {report.num_bytes} bytes: {verdict}"
    )
    return 0 if report.ok else 1


def verify(root: Path) -> VerifyReport:
    """Check the export in ``root``: sizes, digests, counts and keys of the index, then every member of every sample.

    Videos are decoded, poses and tracks checked as when a clip is made. All problems are reported; only an index that
    cannot be read is a UserError.
    """
    index = read_index(root)
    shards, problems = index["shards"], list(_check_index(root, index))
    owner: dict[str, str] = {}
    for shard in track(shards, "Verifying"):
        problems += (f"{shard['name']}: {problem}" for problem in _check_shard(root / shard["name"], shard))
        for key in shard["keys"]:
            if (first := owner.setdefault(key, shard["name"])) != shard["name"]:
                problems.append(f"{shard['name']}: {key} is in {first} too")
    return VerifyReport(
        root=root,
        num_shards=len(shards),
        num_samples=sum(len(shard["keys"]) for shard in shards),
        num_bytes=sum(shard["num_bytes"] for shard in shards),
        problems=tuple(" ".join(problem.split()) for problem in problems),
    )


def _check_index(root: Path, index: Mapping[str, Any]) -> Iterator[str]:
    """Problems of the totals, of the files beside the shards, and of files that nobody listed."""
    shards = index["shards"]
    for total in ("num_samples", "num_bytes"):
        if (counted := sum(shard[total] for shard in shards)) != index.get(total):
            yield f"{INDEX_FILE}: {total} is {index.get(total)}, its shards sum up to {counted}"
    files = index.get("files", {})
    for name, file in files.items():
        yield from (f"{name}: {problem}" for problem in _check_bytes(root / name, file))
    listed = {INDEX_FILE, *files, *(shard["name"] for shard in shards)}
    for path in sorted(root.iterdir()):
        if path.name not in listed:
            yield f"{path.name}: is not in {INDEX_FILE}"


def _check_shard(path: Path, shard: Mapping[str, Any]) -> Iterator[str]:
    if not path.is_file():
        yield "is missing"
        return
    yield from _check_bytes(path, shard)
    try:
        samples = scan_tar(path)
    except UserError as error:
        yield f"is damaged: {error}"
        return
    if len(samples) != shard["num_samples"] or list(samples) != shard["keys"]:
        yield (
            f"holds {len(samples)} samples, the index says {shard['num_samples']}; missing: "
            f"{_few(set(shard['keys']) - set(samples))}; unknown: {_few(set(samples) - set(shard['keys']))}"
        )
    for key, spans in samples.items():
        try:
            members = read_members(path, spans)
        except UserError as error:
            yield f"{key}: {error}"
        else:
            yield from (f"{key}: {problem}" for problem in _check_sample(key, members))


def _check_bytes(path: Path, expected: Mapping[str, Any]) -> Iterator[str]:
    if not path.is_file():
        yield "is missing"
        return
    if (size := path.stat().st_size) != expected["num_bytes"]:
        yield f"has {size} bytes, the index says {expected['num_bytes']}"
    if sha256_of(path) != expected["sha256"]:
        yield "differs from its sha256 in the index"


def _check_sample(key: str, members: Mapping[str, bytes]) -> Iterator[str]:
    try:
        clip, _ = clip_from_members(members, "sample")
    except UserError as error:
        yield str(error).removeprefix("sample: ")
        return
    if clip.scene.clip_id != key:
        yield f"its json says clip_id {clip.scene.clip_id}"
    known = {"json", "tracks.npz", "thumb.jpg", *(video_member(camera.name) for camera in clip.scene.cameras)}
    known |= set() if clip.scene.ego_to_world is None else {"poses.npy"}
    if unknown := set(members) - known:
        yield f"members {_few(unknown)} do not belong to a sample"
    thumbnail = np.frombuffer(members.get("thumb.jpg", b""), np.uint8)
    if not thumbnail.size or cv2.imdecode(thumbnail, cv2.IMREAD_COLOR) is None:
        yield "thumb.jpg is missing or no picture"


def _few(names: set[str]) -> str:
    shown = sorted(names)[:3]
    return (", ".join(shown) + (f" and {len(names) - 3} more" if len(names) > 3 else "")) or "none"
