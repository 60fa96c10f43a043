"""Whatever is done to files of driving data, they are read right or refused in one line.

A damage that leaves a good data set (another caption, a row more) may be accepted; then all that is read must be
a scene: records check themselves.
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
from tests.faults.mutations import mutated
from tests.faults.outcomes import OTHER, SAME, Record, judge, kind_of

FRAMING = make_framing(height=32, width=48, num_frames=5, stride=5)


def nuscenes(root: Path) -> Callable[[], Source]:
    write_world(root)
    (root / VERSION / "splits.json").write_text('{"mine": ["sim-0001"], "other": []}')
    return lambda: NuScenesSource(root, VERSION, FRAMING, cameras=("CAM_FRONT", "CAM_BACK"), split="mine")


def folders(root: Path) -> Callable[[], Source]:
    write_clip_folder(root, small_clip(cameras=("CAM_FRONT", "CAM_BACK")))
    return lambda: VideoFolderSource(root, FRAMING)


def members_of_shards(root: Path) -> Callable[[], Source]:
    """Members that are damaged and then packed into a whole tar: nothing but their own reader sees it."""
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
    """What is damaged: of each kind of image a few, since all are read alike, and tables as often as all images."""
    tables = [path for path in sorted(root.rglob("*.json")) for _ in range(2)]
    others = [path for path in sorted(root.rglob("*")) if path.is_file() and path.suffix not in (".json", ".bin")]
    return tables + others[:: max(1, len(others) // 8)]


def read(opened: Callable[[], Source]) -> str:
    """A digest of everything that is there."""
    source, digest = opened(), hashlib.sha256()
    for scene in source.scenes():
        clip = source.load(scene)
        digest.update(json.dumps(scene_to_json(clip.scene), sort_keys=True).encode())
        digest.update(clip.frames.tobytes())
    return digest.hexdigest()


def trials(kind: str, root: Path, numbers: range, record: Record) -> Iterator[str]:
    """What is wrong with how each damage ends; nothing for a good end."""
    opened = KINDS[kind](root)
    sound = read(opened)
    files = files_of(root)
    for number in numbers:
        rng = random.Random(f"{kind} {number}")
        path = rng.choice(files)
        content = path.read_bytes()
        damaged, damage = mutated(content, path.name, rng)
        path.write_bytes(damaged)
        try:
            judge(
                record,
                f"{kind}: {kind_of(path)}",
                lambda: read(opened),
                lambda found: SAME if found == sound else OTHER,
            )
        except Exception as error:
            yield f"{kind} {number}: {path.relative_to(root)} {damage}: {type(error).__name__}: {str(error)[:200]}"
        path.write_bytes(content)


@pytest.mark.parametrize("kind", KINDS)
def test_each_damage_ends_right_or_in_one_line(kind: str, tmp_path: Path, record_property: Record) -> None:
    assert list(trials(kind, tmp_path / "data", range(40), record_property)) == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
def test_many_damages_end_right_or_in_one_line(kind: str, tmp_path: Path, record_property: Record) -> None:
    assert list(trials(kind, tmp_path / "data", range(40, 600), record_property)) == []
