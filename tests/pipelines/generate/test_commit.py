"""Exactly-once commits, under concurrency and kills."""

import multiprocessing
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.webdataset_shards.tar_samples import read_samples
from driveforge.datasets.webdataset_shards.tarball import write_tar
from driveforge.pipelines.generate.commit import CommitLog, remove_unreferenced

NUM_UNITS = 150
# Forked processes start quickly and can be killed.
FORK = multiprocessing.get_context("fork")


def scratch(tmp_path: Path, content: bytes = b"{}", name: str = "scratch.tar") -> Path:
    return write_tar(tmp_path / name, [("k1", {"json": content}), ("k2", {"json": content})]).path


def test_a_commit_publishes_the_tar_and_its_marker(tmp_path: Path) -> None:
    log, tar = CommitLog(tmp_path / "candidates"), scratch(tmp_path)
    assert not log.is_committed("u-0001")
    assert log.commit("u-0001", tar)
    assert log.is_committed("u-0001") and tar.exists()
    (marker,) = log.read_markers()
    assert marker.unit == "u-0001" and marker.keys == ("k1", "k2")
    assert marker.tar == f"u-0001-{marker.sha256[:8]}.tar"
    assert (log.root / marker.tar).read_bytes() == tar.read_bytes()


def test_the_first_attempt_wins_and_the_others_leave_no_files(tmp_path: Path) -> None:
    log = CommitLog(tmp_path / "candidates")
    tars = [scratch(tmp_path, bytes([48 + i]), f"{i}.tar") for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda tar: log.commit("u", tar), tars))
    assert won.count(True) == 1
    (marker,) = log.read_markers()
    assert [path.name for path in log.root.glob("*.tar")] == [marker.tar]
    assert (log.root / marker.tar).read_bytes() == tars[won.index(True)].read_bytes()


def test_a_late_attempt_with_the_same_bytes_keeps_the_committed_tar(tmp_path: Path) -> None:
    log = CommitLog(tmp_path / "candidates")
    assert log.commit("u", scratch(tmp_path))
    late = CommitLog(tmp_path / "candidates")
    late.is_committed = lambda unit_id: False  # type: ignore[method-assign]
    assert not late.commit("u", scratch(tmp_path))
    assert len(log.read_markers()) == 1 and list(log.root.glob("*.tar"))


def test_markers_are_in_unit_order_and_damaged_tars_are_found(tmp_path: Path) -> None:
    log = CommitLog(tmp_path / "candidates")
    assert log.read_markers() == []
    for unit in ("u-2", "u-10", "u-1"):
        log.commit(unit, scratch(tmp_path))
    assert [marker.unit for marker in log.read_markers()] == ["u-1", "u-10", "u-2"]
    (marker, *_) = log.read_markers()
    (log.root / marker.tar).write_bytes(b"short")
    with pytest.raises(UserError, match=r"u-1-.*\.tar: is damaged .*driveforge generate"):
        log.read_verified(marker)
    (log.root / marker.tar).unlink()
    with pytest.raises(UserError, match=r"u-1-.*\.tar: .* is missing.*driveforge generate"):
        log.read_verified(marker)


def test_a_torn_scratch_tar_is_not_committed(tmp_path: Path) -> None:
    log, tar = CommitLog(tmp_path / "candidates"), scratch(tmp_path, bytes(4000))
    tar.write_bytes(tar.read_bytes()[:3000])
    with pytest.raises(UserError):
        log.commit("u", tar)
    assert not log.is_committed("u") and not list(log.root.glob("*.tar"))


def test_unreferenced_files_are_removed(tmp_path: Path) -> None:
    log = CommitLog(tmp_path / "candidates")
    log.commit("u", scratch(tmp_path))
    (log.root / "u-deadbeef.tar").write_bytes(b"of an attempt that died")
    (log.root / ".u.x.tmp").write_bytes(b"half")
    (log.root / "_commits" / ".u.json.x.tmp").write_bytes(b"half")
    assert {path.name for path in remove_unreferenced(log.root)} == {"u-deadbeef.tar", ".u.x.tmp", ".u.json.x.tmp"}
    assert len(log.read_markers()) == 1 and remove_unreferenced(log.root) == []


def test_quarantine_keeps_the_reason_until_the_unit_is_made(tmp_path: Path) -> None:
    log = CommitLog(tmp_path / "candidates")
    log.quarantine("u", "died three times")
    assert log.read_quarantine() == {"u": "died three times"} and not log.is_committed("u")
    log.commit("u", scratch(tmp_path))
    assert log.read_quarantine() == {}


def test_unit_ids_cannot_leave_the_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unit id"):
        CommitLog(tmp_path).commit("../u", scratch(tmp_path))


def commit_all(root: Path) -> None:
    """Make and commit every unit that is not committed yet, like a worker."""
    for i in range(NUM_UNITS):
        unit = f"u-{i:03d}"
        if not CommitLog(root).is_committed(unit):
            tar = write_tar(root.parent / "scratch.tar", [(f"k{i}", {"json": bytes(50_000)})]).path
            CommitLog(root).commit(unit, tar)


def test_kills_neither_lose_nor_repeat_a_unit(tmp_path: Path) -> None:
    root = tmp_path / "candidates"
    for share in (2, 20, 40):
        worker = FORK.Process(target=commit_all, args=(root,))
        worker.start()
        while len(list((root / "_commits").glob("[!.]*.json"))) < share and worker.is_alive():
            time.sleep(0.002)
        worker.kill()
        worker.join()
        assert worker.exitcode == -signal.SIGKILL
        assert share <= len(CommitLog(root).read_markers()) < NUM_UNITS
    commit_all(root)
    remove_unreferenced(root)
    assert not list(root.glob(".*.tmp"))
    keys = [key for marker in CommitLog(root).read_markers() for key, _ in read_samples(root / marker.tar)]
    assert sorted(keys) == sorted(f"k{i}" for i in range(NUM_UNITS))
    assert len(list(root.glob("*.tar"))) == NUM_UNITS
