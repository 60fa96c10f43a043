"""A worker that is suspended before its commit, and continues after another worker has committed the unit."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.stores.interface import Store
from driveforge.datasets.stores.local import LocalStore
from driveforge.datasets.stores.remote import RemoteStore
from driveforge.datasets.webdataset_shards.tarball import write_tar
from driveforge.pipelines.generate.commit import CommitLog
from driveforge.pipelines.processes.environment import environment
from tests.object_stores import BUCKET, DiskServer

UNIT = "unit-000000"


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "local":
        return LocalStore(tmp_path / "candidates")
    return RemoteStore(f"{request.getfixturevalue('store_url')}/candidates")


def commit(store: Store, folder: Path, content: bytes) -> bool:
    scratch = folder / f"{os.getpid()}.tar"
    write_tar(scratch, [("clip", {"json": content})])
    return CommitLog(store).commit(UNIT, scratch)


def commit_late(store: Store, folder: Path, content: bytes) -> None:
    """Commit in a process that suspends itself once it has seen that the unit is not committed."""
    kind: Any = type(store)
    stage = kind.stage

    @contextmanager
    def suspended(self: Store, file: Path) -> Iterator[Any]:
        os.kill(os.getpid(), signal.SIGSTOP)
        with stage(self, file) as staged:
            yield staged

    kind.stage = suspended
    sys.exit(0 if commit(store, folder, content) is False else 1)


@pytest.mark.parametrize("content", [b"same", b"other"])
def test_the_first_commit_counts_and_the_late_one_leaves_nothing(store: Store, tmp_path: Path, content: bytes) -> None:
    late = multiprocessing.get_context("spawn").Process(target=commit_late, args=(store, tmp_path, content))
    late.start()
    deadline = time.monotonic() + 60
    while Path(f"/proc/{late.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < deadline and late.is_alive()
        time.sleep(0.01)
    assert commit(store, tmp_path, b"same")
    assert late.pid is not None
    os.kill(late.pid, signal.SIGCONT)
    late.join()
    assert late.exitcode == 0, "the late commit is told that it was not the first"
    (marker,) = CommitLog(store).read_markers()
    assert [file.name for file in store.files()] == [marker.tar]
    (members,) = CommitLog(store).read_verified(marker).values()
    assert members["json"].size == 4


@pytest.mark.slow
def test_a_store_that_stays_away_ends_the_commit_with_one_line(tmp_path: Path) -> None:
    server = DiskServer(tmp_path / "server")
    with environment({**server.environment, "DRIVEFORGE_CACHE": str(tmp_path / "cache")}):
        store = RemoteStore(f"s3://{BUCKET}/run/candidates")
        store.write("_commits/other.json", b"{}")
        server.kill()
        start = time.monotonic()
        with pytest.raises(
            UserError, match=rf"^s3://{BUCKET}/run/candidates/.*: no connection at http://127"
        ) as raised:
            commit(store, tmp_path, b"same")
        assert time.monotonic() - start < 120 and len(str(raised.value).splitlines()) == 1
