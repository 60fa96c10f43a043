"""Tars from other tools, and damaged tars."""

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from driveforge.datasets.errors import MAX_LENGTH, UserError
from driveforge.datasets.webdataset_shards.format import clip_members
from driveforge.datasets.webdataset_shards.source import ShardSource
from driveforge.datasets.webdataset_shards.tar_samples import read_samples, scan_tar
from tests.datasets.small_clips import assert_same_scene, small_clip

MEMBERS = {"json": b"{}", "cam_front.mp4": b"video" * 300, "thumb.jpg": b"jpg"}


def put(path: Path, *names: str, kind: bytes = tarfile.REGTYPE, form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=form) as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.type, member.size = kind, 3 if kind == tarfile.REGTYPE else 0
            tar.addfile(member, io.BytesIO(b"abc"))
    return path


def refused(path: Path) -> str:
    with pytest.raises(UserError) as raised:
        list(read_samples(path))
    message = str(raised.value)
    assert str(path) in message and "\n" not in message and len(message) <= MAX_LENGTH
    return message


@pytest.mark.parametrize(
    "words",
    [["."], ["clips"], ["./clips"], ["--format=pax", "."], ["--format=gnu", "clips"], ["--format=v7", "."]],
    ids=" ".join,
)
def test_shards_that_tar_packed_are_read(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "in" / "clips").mkdir(parents=True)
    (tmp_path / "shards").mkdir()
    for clip in (small_clip("drive-1"), small_clip("drive-2", seed=5)):
        for name, content in clip_members(clip, {}).items():
            (tmp_path / "in" / "clips" / f"{clip.scene.clip_id}.{name}").write_bytes(content)
    for stray in ("._drive-1.json", ".DS_Store", "README", "__meta__"):
        (tmp_path / "in" / "clips" / stray).write_bytes(b"x")
    subprocess.run(["tar", "-cf", tmp_path / "shards" / "a.tar", *words], cwd=tmp_path / "in", check=True)
    (tmp_path / "shards" / "._a.tar").write_bytes(b"x")
    source = ShardSource(tmp_path / "shards")
    scenes = {scene.clip_id: scene for scene in source.scenes()}
    assert set(scenes) == {"drive-1", "drive-2"}
    assert_same_scene(scenes["drive-2"], small_clip("drive-2", seed=5).scene)
    assert source.load(scenes["drive-1"]).frames.shape == small_clip().frames.shape


def test_files_that_webdataset_skips_are_skipped(tmp_path: Path) -> None:
    names = ["a/__meta__", "__meta__/x.json", "__key__", "a/.b.json", "LICENSE", "k.json", "deep/k.er/k.jpg"]
    assert {key: list(spans) for key, spans in scan_tar(put(tmp_path / "a.tar", *names)).items()} == {
        "k": ["json", "jpg"]
    }


def test_duplicate_members_are_refused(tmp_path: Path) -> None:
    assert "member 'k.json' is duplicated" in refused(put(tmp_path / "a.tar", "k.json", "k.json"))
    assert "member 'b/k.json' is duplicated, possibly in two" in refused(
        put(tmp_path / "b.tar", "a/k.json", "b/k.json")
    )


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(kind: bytes, tmp_path: Path) -> None:
    assert "member 'k.json' is not a regular file" in refused(put(tmp_path / "a.tar", "k.json", kind=kind))


def whole(tmp_path: Path) -> tuple[Path, bytes]:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        for key in ("a", "b"):
            for name, content in MEMBERS.items():
                member = tarfile.TarInfo(f"{key}.{name}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return path, path.read_bytes()


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path: Path) -> None:
    path, content = whole(tmp_path)
    with tarfile.open(path) as tar:
        offsets = [member.offset for member in tar]
    for offset in offsets:
        for byte in (0, 100, 130, 148, 156, 257, 345):
            damaged = bytearray(content)
            damaged[offset + byte] ^= 4
            path.write_bytes(damaged)
            refused(path)


def test_a_tar_truncated_anywhere_is_refused(tmp_path: Path) -> None:
    path, content = whole(tmp_path)
    end = len(content.rstrip(b"\0")) // 512 * 512 + 512
    for length in [0, 1, 511, 512, *range(600, end, 509), end]:
        path.write_bytes(content[:length])
        refused(path)


def test_data_after_the_end_marker_is_refused(tmp_path: Path) -> None:
    path, content = whole(tmp_path)
    path.write_bytes(content + content)
    assert "has data after its end marker" in refused(path)
    path.write_bytes(content + bytes(4096))
    assert len(scan_tar(path)) == 2


@pytest.mark.parametrize("size", [-512, -(2**40), 2**40, 2**62])
def test_impossible_sizes_are_refused(size: int, tmp_path: Path) -> None:
    """With a negative size, tarfile would loop forever."""
    path = tmp_path / "a.tar"
    headers = []
    for name in ("k.json", "k.jpg"):
        member = tarfile.TarInfo(name)
        member.size = size
        info = bytearray(member.tobuf(tarfile.GNU_FORMAT))
        if size < 0:
            info[124:136] = (256**12 + size).to_bytes(12, "big")
            info[148:156] = b"        "
            info[148:156] = f"{sum(info):06o}\0 ".encode()
        headers.append(bytes(info))
    path.write_bytes(b"".join(header + bytes(512) for header in headers) + bytes(1024))
    assert "is truncated" in refused(path)
