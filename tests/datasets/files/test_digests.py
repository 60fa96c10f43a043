"""What footage is hangs on its bytes; the clock and the size of a file only save the reading."""

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


def settled() -> None:
    """Wait until what was written is older than a clock's tick."""
    time.sleep(digests._CLOCK_TICK_NS / 1e9 + 0.1)


def test_clips_of_the_same_bytes_are_the_same_and_made_ones_have_none(tmp_path: Path, files: list[Path]) -> None:
    first, both, none = compute_digests([files[:1], files, []], tmp_path / "notes")
    assert len({first, both, none}) == 3 and none == ""
    (tmp_path / "c.mp4").write_bytes(b"a.mp4")
    assert compute_digests([[tmp_path / "c.mp4"]], tmp_path / "elsewhere") == [first]


def test_a_file_that_got_other_bytes_under_its_old_size_and_date_is_noticed(tmp_path: Path, files: list[Path]) -> None:
    settled()
    before = compute_digests([files], tmp_path)
    status = files[0].stat()
    files[0].write_bytes(b"A.mp4")
    os.utime(files[0], ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (files[0].stat().st_size, files[0].stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert compute_digests([files], tmp_path) != before
    files[0].write_bytes(b"a.mp4")
    assert compute_digests([files], tmp_path) == before, "a date alone changes nothing"


def test_what_did_not_change_is_not_read_again(
    tmp_path: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    settled()
    before = compute_digests([files], tmp_path)
    read: list[Path] = []
    monkeypatch.setattr(digests, "sha256_file", lambda path: read.append(path) or "other")
    assert compute_digests([files], tmp_path) == before and read == []


def test_spoilt_notes_are_made_again(tmp_path: Path, files: list[Path]) -> None:
    settled()
    before = compute_digests([files], tmp_path)
    whole = (tmp_path / DIGEST_CACHE).read_bytes()
    corrupted = (b"", b"[]", b'{"files": {}, "digest": "0"}', b"\xff", whole.replace(b"a.mp4", b"b.mp4"), whole[:-9])
    for content in corrupted:
        (tmp_path / DIGEST_CACHE).write_bytes(content)
        assert compute_digests([files], tmp_path) == before
        assert (tmp_path / DIGEST_CACHE).read_bytes() == whole
