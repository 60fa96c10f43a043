"""What footage is hangs on its bytes; the clock and the size of a file only save the reading."""

import os
import time
from pathlib import Path

import pytest

from driveforge.datasets.files import contents
from driveforge.datasets.files.contents import NOTES, digests_of


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / name for name in ("a.mp4", "b.mp4")]
    for path in paths:
        path.write_bytes(path.name.encode())
    return paths


def settled() -> None:
    """Wait until what was written is older than a clock's tick."""
    time.sleep(contents._TICK_NS / 1e9 + 0.1)


def test_clips_of_the_same_bytes_are_the_same_and_made_ones_have_none(tmp_path: Path, files: list[Path]) -> None:
    first, both, none = digests_of([files[:1], files, []], tmp_path / "notes")
    assert len({first, both, none}) == 3 and none == ""
    (tmp_path / "c.mp4").write_bytes(b"a.mp4")
    assert digests_of([[tmp_path / "c.mp4"]], tmp_path / "elsewhere") == [first]


def test_a_file_that_got_other_bytes_under_its_old_size_and_date_is_noticed(tmp_path: Path, files: list[Path]) -> None:
    settled()
    before = digests_of([files], tmp_path)
    status = files[0].stat()
    files[0].write_bytes(b"A.mp4")
    os.utime(files[0], ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (files[0].stat().st_size, files[0].stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert digests_of([files], tmp_path) != before
    files[0].write_bytes(b"a.mp4")
    assert digests_of([files], tmp_path) == before, "a date alone changes nothing"


def test_what_did_not_change_is_not_read_again(
    tmp_path: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    settled()
    before = digests_of([files], tmp_path)
    read: list[Path] = []
    monkeypatch.setattr(contents, "sha256_of", lambda path: read.append(path) or "other")
    assert digests_of([files], tmp_path) == before and read == []


def test_spoilt_notes_are_made_again(tmp_path: Path, files: list[Path]) -> None:
    settled()
    before = digests_of([files], tmp_path)
    whole = (tmp_path / NOTES).read_bytes()
    spoilt = (b"", b"[]", b'{"files": {}, "digest": "0"}', b"\xff", whole.replace(b"a.mp4", b"b.mp4"), whole[:-9])
    for content in spoilt:
        (tmp_path / NOTES).write_bytes(content)
        assert digests_of([files], tmp_path) == before
        assert (tmp_path / NOTES).read_bytes() == whole
