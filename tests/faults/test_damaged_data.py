"""Damaged driving data is read correctly or refused with a one-line error.

Damage that leaves a valid data set (another caption, an additional row) may be accepted; then everything read must be
a valid scene, which the record types check.
"""

import hashlib
import io
import json
import random
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from driveforge.datasets.folder_source import VideoFolderSource, write_clip_folder
from driveforge.datasets.nuscenes.source import NuScenesSource
from driveforge.datasets.scene_json import scene_to_json
from driveforge.datasets.source import Source
from driveforge.datasets.webdataset_shards.format import clip_members
from driveforge.datasets.webdataset_shards.source import ShardSource
from tests.datasets.nuscenes.world import VERSION, write_world
from tests.datasets.small_clips import small_clip
from tests.defaults import make_framing
from tests.faults.damage import damage_content
from tests.faults.outcomes import OTHER, SAME, Record, kind_of, record_outcome

FRAMING = make_framing(height=32, width=48, num_frames=5, stride=5)


def nuscenes(root: Path) -> Callable[[], Source]:
    write_world(root)
    (root / VERSION / "splits.json").write_text('{"mine": ["sim-0001"], "other": []}')
    return lambda: NuScenesSource(root, VERSION, FRAMING, cameras=("CAM_FRONT", "CAM_BACK"), split="mine")


def folders(root: Path) -> Callable[[], Source]:
    write_clip_folder(root, small_clip(cameras=("CAM_FRONT", "CAM_BACK")))
    return lambda: VideoFolderSource(root, FRAMING)


def members_of_shards(root: Path) -> Callable[[], Source]:
    """Members that are packed into an undamaged tar, so that only their own readers can find the damage."""
    root.mkdir(parents=True, exist_ok=True)
    for name, content in clip_members(small_clip(), {"seed": 3}).items():
        (root / name).write_bytes(content)

    def opened() -> Source:
        packed = root.parent / f"{root.name}-shards"
        packed.mkdir(exist_ok=True)
        with tarfile.open(packed / "a.tar", "w") as tar:
            for path in sorted(root.iterdir()):
                member = tarfile.TarInfo(f"drive-1.{path.name}")
                member.size = path.stat().st_size
                tar.addfile(member, io.BytesIO(path.read_bytes()))
        return ShardSource(packed)

    return opened


def shards(root: Path) -> Callable[[], Source]:
    root.mkdir(parents=True, exist_ok=True)
    with tarfile.open(root / "a.tar", "w") as tar:
        for key in ("drive-1", "drive-2"):
            for name, content in clip_members(small_clip(key), {"seed": 3}).items():
                member = tarfile.TarInfo(f"{key}.{name}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return lambda: ShardSource(root)


KINDS = {"nuscenes": nuscenes, "folders": folders, "members": members_of_shards, "shards": shards}


def files_of(root: Path) -> list[Path]:
    """The files to damage: every table twice, and a few of the images."""
    tables = [path for path in sorted(root.rglob("*.json")) for _ in range(2)]
    others = [path for path in sorted(root.rglob("*")) if path.is_file() and path.suffix not in (".json", ".bin")]
    return tables + others[:: max(1, len(others) // 8)]


def read(opened: Callable[[], Source]) -> str:
    """A digest of all clips."""
    source, digest = opened(), hashlib.sha256()
    for scene in source.scenes():
        clip = source.load(scene)
        digest.update(json.dumps(scene_to_json(clip.scene), sort_keys=True).encode())
        digest.update(clip.frames.tobytes())
    return digest.hexdigest()


def trials(kind: str, root: Path, numbers: range, record: Record) -> Iterator[str]:
    """Yield a description of every damage with an unacceptable outcome."""
    opened = KINDS[kind](root)
    sound = read(opened)
    files = files_of(root)
    for number in numbers:
        rng = random.Random(f"{kind} {number}")
        path = rng.choice(files)
        content = path.read_bytes()
        damaged, damage = damage_content(content, path.name, rng)
        path.write_bytes(damaged)
        try:
            record_outcome(
                record,
                f"{kind}: {kind_of(path)}",
                lambda: read(opened),
                lambda found: SAME if found == sound else OTHER,
            )
        except Exception as error:
            yield f"{kind} {number}: {path.relative_to(root)} {damage}: {type(error).__name__}: {str(error)[:200]}"
        path.write_bytes(content)


@pytest.mark.parametrize("kind", KINDS)
def test_damage_gives_valid_data_or_a_one_line_error(kind: str, tmp_path: Path, record_property: Record) -> None:
    assert list(trials(kind, tmp_path / "data", range(40), record_property)) == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
def test_much_damage_gives_valid_data_or_a_one_line_error(kind: str, tmp_path: Path, record_property: Record) -> None:
    assert list(trials(kind, tmp_path / "data", range(40, 600), record_property)) == []
