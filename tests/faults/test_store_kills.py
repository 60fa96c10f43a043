"""Generation in an object store, with drivers and servers that are killed, gives the objects of an undisturbed run."""

import hashlib
import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from tempfile import gettempdir

import pytest

from tests.faults.killing import (
    KillableCommand,
    KillPoint,
    kill_counts,
    kill_repeatedly,
    killable_command,
    require_no_process,
    run_to_end,
    snapshot,
)
from tests.faults.outcomes import KILLS, Record
from tests.object_stores import BUCKET, DiskServer

URL = f"s3://{BUCKET}/run"


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Callable[[float], DiskServer]]:
    with ExitStack() as stack:

        def start(bytes_per_second: float = float("inf")) -> DiskServer:
            server = DiskServer(tmp_path / "server", bytes_per_second)
            stack.callback(server.kill)
            return server

        yield start


def candidates_of(server: DiskServer) -> Path:
    return server.root / BUCKET / "run" / "candidates"


def generation(
    server: DiskServer, machine: str = "a", executor: str = "local"
) -> AbstractContextManager[KillableCommand]:
    """The command on a machine with its own cache and temporary folder."""
    here = server.root.parent / machine
    here.mkdir(parents=True, exist_ok=True)
    places = {"DRIVEFORGE_CACHE": str(here / "cache"), "TMPDIR": str(temporary_folder(here))}
    return killable_command(
        f"generate in a store, {executor}",
        candidates_of(server),
        *("generate in a store", URL, executor),
        environment={**server.environment, **places},
        log=here / "log",
    )


def temporary_folder(here: Path) -> Path:
    """That of a machine, with a short name: sockets of worker processes have at most 107 characters."""
    folder = Path(gettempdir()) / f"df-{hashlib.sha256(str(here).encode()).hexdigest()[:8]}"
    folder.mkdir(exist_ok=True)
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    return {name: content for name, content in snapshot(folder).items() if content is not None}


def without_attempts(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if "_attempts/" not in name}


def require_nothing_left(server: DiskServer, machine: str = "a") -> None:
    """No lock and no temporary file on the machine."""
    here = server.root.parent / machine
    left = [path for path in here.rglob("*") if path.is_file() and path.name.endswith((".tmp", ".lock"))]
    assert left == [] and not any(path.is_file() for path in temporary_folder(here).rglob("*"))


@pytest.mark.parametrize("kills", kill_counts(2))
@pytest.mark.parametrize("executor", ["local", pytest.param("ray", marks=pytest.mark.slow)])
def test_a_killed_driver_ends_with_the_same_objects(
    finished_run: Path, servers: Callable[[], DiskServer], executor: str, kills: int, record_property: Record
) -> None:
    server, whole = servers(), files_of(finished_run / "candidates")
    root = candidates_of(server)
    kill_points = (KillPoint(within=4.0 if executor == "local" else 12.0), KillPoint(pattern="*.tar", within=1.0))
    with generation(server, executor=executor) as command:
        for _ in kill_repeatedly(command, kill_points, kills, random.Random(kills), record_property):
            assert without_attempts(files_of(root)).items() <= whole.items()
            if without_attempts(files_of(root)) == whole:
                shutil.rmtree(root)
        run_to_end(command)
    assert files_of(root) == whole
    require_nothing_left(server)


@pytest.mark.parametrize("kills", kill_counts(3))
def test_a_server_that_is_killed_in_mid_upload_and_restarted_changes_nothing(
    finished_run: Path, servers: Callable[[float], DiskServer], kills: int, record_property: Record
) -> None:
    server, whole, rng = servers(150_000.0), files_of(finished_run / "candidates"), random.Random(kills)
    root, num_killed, outcome = candidates_of(server), 0, "failed"
    try:
        with generation(server) as command:
            while num_killed < kills:
                if root.exists() and without_attempts(files_of(root)) == whole:
                    shutil.rmtree(root)
                run, kill_at = command.start(), time.monotonic() + rng.uniform(0, 2)
                while num_killed < kills and not run.has_ended():
                    if time.monotonic() > kill_at and server.num_received():
                        server.kill()
                        num_killed += 1
                        for path in server.root.glob(".receiving-*"):
                            path.unlink()
                        time.sleep(rng.uniform(0, 1))
                        server.start()
                        # So late that some uploads succeed.
                        kill_at = time.monotonic() + rng.uniform(0, 3)
                    time.sleep(0.005)
                assert run.wait() == 0, command.log.read_text()[-2000:]
                require_no_process(command)
                assert files_of(root) == whole
        outcome = "correct after each"
    finally:
        record_property(KILLS, ["store server, in mid-upload", num_killed, num_killed, 0, outcome])
    require_nothing_left(server)


def test_two_drivers_on_one_plan_make_every_clip_once(finished_run: Path, servers: Callable[[], DiskServer]) -> None:
    server = servers()
    with generation(server, "a") as first, generation(server, "b") as second:
        runs = first.start(), second.start()
        assert [run.wait() for run in runs] == [0, 0], first.log.read_text()[-2000:]
    assert files_of(candidates_of(server)) == files_of(finished_run / "candidates")
    for machine in ("a", "b"):
        require_nothing_left(server, machine)
