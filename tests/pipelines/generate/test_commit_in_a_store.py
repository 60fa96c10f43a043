"""Exactly-once commits in an object store."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.stores.remote import RemoteStore
from driveforge.pipelines.generate.commit import CommitLog, unreferenced_tars
from tests.pipelines.generate.test_commit import scratch


@pytest.fixture
def log(store_url: str) -> CommitLog:
    return CommitLog(RemoteStore(f"{store_url}/candidates"))


def test_the_first_attempt_wins_and_the_others_leave_no_objects(log: CommitLog, tmp_path: Path) -> None:
    tars = [scratch(tmp_path, bytes([48 + i]), f"{i}.tar") for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda tar: log.commit("u", tar), tars))
    assert won.count(True) == 1
    (marker,) = log.read_markers()
    assert [file.name for file in log.store.files()] == [marker.tar]
    assert log.store.fetch(marker.tar).read_bytes() == tars[won.index(True)].read_bytes()
    assert list(log.read_verified(marker)) == ["k1", "k2"]


def test_markers_are_in_unit_order_and_damaged_tars_are_found(log: CommitLog, tmp_path: Path) -> None:
    for unit in ("u-2", "u-10", "u-1"):
        assert log.commit(unit, scratch(tmp_path))
    assert [marker.unit for marker in log.read_markers()] == ["u-1", "u-10", "u-2"]
    (marker, *_) = log.read_markers()
    log.read_verified(marker)
    log.store.fetch(marker.tar).write_bytes(b"short")
    log.read_verified(marker)  # only the cached copy was damaged
    log.store.fetch(marker.tar).unlink()
    log.store.write(marker.tar, b"short")
    with pytest.raises(UserError, match=r"^s3://bucket/\w+/candidates/u-1-\w+\.tar: is damaged .*driveforge generate"):
        log.read_verified(marker)
    log.store.delete([marker.tar])
    with pytest.raises(UserError, match=r"u-1-\w+\.tar: the committed tar is missing; .*driveforge generate"):
        log.read_verified(marker)


def test_an_attempt_of_a_killed_worker_is_unreferenced(log: CommitLog, tmp_path: Path) -> None:
    log.commit("u", scratch(tmp_path))
    for name in ("u-deadbeef.tar", "other-deadbeef.tar", "not-ours.tar"):
        log.store.write(name, b"of an attempt that died")
    found = unreferenced_tars(log, set(log.committed_units()), log.store.names())
    assert sorted(found) == ["other-deadbeef.tar", "u-deadbeef.tar"]


def test_quarantine_keeps_the_reason_until_the_unit_is_made(log: CommitLog, tmp_path: Path) -> None:
    log.quarantine("u", "died three times")
    assert log.read_quarantine() == {"u": "died three times"} and not log.is_committed("u")
    log.commit("u", scratch(tmp_path))
    assert log.read_quarantine() == {}
