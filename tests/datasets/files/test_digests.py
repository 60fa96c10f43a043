"""Digests depend only on the bytes of files; size and time stamps only decide whether a file is read again."""

import os
import time
from pathlib import Path

import pytest

from driveforge.datasets.files import digests
from driveforge.datasets.files.digests import DIGEST_CACHE, compute_digests


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / name for name in ("a.mp4", "b.mp4")]
    for path in paths:
        path.write_bytes(path.name.encode())
    return paths


def wait_for_clock_tick() -> None:
    """Wait until written files are older than one tick of the clock."""
    time.sleep(digests._CLOCK_TICK_NS / 1e9 + 0.1)


def test_equal_bytes_give_equal_digests_and_no_files_give_none(tmp_path: Path, files: list[Path]) -> None:
    first, both, none = compute_digests([files[:1], files, []], tmp_path / "cache")
    assert len({first, both, none}) == 3 and none == ""
    (tmp_path / "c.mp4").write_bytes(b"a.mp4")
    assert compute_digests([[tmp_path / "c.mp4"]], tmp_path / "elsewhere") == [first]


def test_other_bytes_of_the_same_size_and_date_are_detected(tmp_path: Path, files: list[Path]) -> None:
    wait_for_clock_tick()
    before = compute_digests([files], tmp_path)
    status = files[0].stat()
    files[0].write_bytes(b"A.mp4")
    os.utime(files[0], ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (files[0].stat().st_size, files[0].stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert compute_digests([files], tmp_path) != before
    files[0].write_bytes(b"a.mp4")
    assert compute_digests([files], tmp_path) == before, "the date does not matter"


def test_unchanged_files_are_not_read_again(tmp_path: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    wait_for_clock_tick()
    before = compute_digests([files], tmp_path)
    monkeypatch.setattr(digests, "sha256_file", lambda path: pytest.fail(f"{path} was read"))
    assert compute_digests([files], tmp_path) == before


def test_a_damaged_cache_is_rebuilt(tmp_path: Path, files: list[Path]) -> None:
    wait_for_clock_tick()
    before = compute_digests([files], tmp_path)
    whole = (tmp_path / DIGEST_CACHE).read_bytes()
    corrupted = (b"", b"[]", b'{"files": {}, "digest": "0"}', b"\xff", whole.replace(b"a.mp4", b"b.mp4"), whole[:-9])
    for content in corrupted:
        (tmp_path / DIGEST_CACHE).write_bytes(content)
        assert compute_digests([files], tmp_path) == before
        assert (tmp_path / DIGEST_CACHE).read_bytes() == whole
