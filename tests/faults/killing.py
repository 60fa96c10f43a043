"""Kills a command and all its processes with SIGKILL, repeatedly at random times, and checks that none is left."""

import os
import random
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from driveforge.pipelines.generate.costs import COSTS_FOLDER
from tests.faults.outcomes import KILLS, Record

ROOT = Path(__file__).resolve().parents[2]
# In the environment of all processes of a command, also in other process groups.
_TOKEN = "DRIVEFORGE_KILLED_AS"
# Files that a command creates at its start, before it writes any output.
_LOCKS = (".lock", ".caches.lock", ".writer", ".driveforge-scratch")


def kill_counts(few: int, *more: tuple[object, object]) -> list[ParameterSet]:
    """Parameters for the number of kills: ``few`` by default and 100 in slow tests; ``more`` are further values for
    both."""
    by_default, slowly = zip(*more, strict=True) if more else ((), ())
    marks = [pytest.mark.slow, pytest.mark.timeout(4 * 3600)]
    return [
        pytest.param(few, *by_default, id=str(few), marks=pytest.mark.timeout(1800)),
        pytest.param(100, *slowly, id="100", marks=marks),
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class KillPoint:
    """A random time up to ``within`` seconds after a file that matches ``pattern`` is new or changed, or, without a
    pattern, after the start."""

    pattern: str = ""
    within: float


@dataclass(frozen=True, kw_only=True, slots=True)
class KillableCommand:
    """A command that writes below ``folder``; ``server`` (``tests.faults.command_server``) starts its runs."""

    name: str
    folder: Path
    server: "subprocess.Popen[bytes]"
    token: str
    log: Path

    def start(self) -> "Run":
        assert self.server.stdin is not None
        self.server.stdin.write(b"\n")
        return Run(group=int(self.read_line()), command=self)

    def read_line(self) -> bytes:
        """A line of the server."""
        assert self.server.stdout is not None
        return self.server.stdout.readline()

    def processes(self) -> dict[int, str]:
        """Command lines of the running processes of the command, by process id, in all process groups."""
        mark, found = f"{_TOKEN}={self.token}".encode(), {}
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended, or belongs to another user
                if int(process.name) != self.server.pid and mark in (process / "environ").read_bytes().split(b"\0"):
                    line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    found[int(process.name)] = line
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One run of a command, in a process group of its own."""

    group: int
    command: KillableCommand

    def has_ended(self) -> bool:
        return bool(select.select([self.command.server.stdout], [], [], 0)[0])

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.group, signal.SIGKILL)

    def wait(self) -> int:
        """The exit code, once the run has ended."""
        return int(self.command.read_line())


@contextmanager
def killable_command(
    name: str,
    folder: Path,
    command: str,
    *words: object,
    environment: Mapping[str, str] | None = None,
    log: Path | None = None,
) -> Iterator[KillableCommand]:
    """A command that can be started repeatedly with its imports done; all its processes are ended afterwards."""
    token, log = uuid.uuid4().hex, log or folder.parent / f"{folder.name}.log"
    with log.open("wb") as stderr:
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.command_server", command, *map(str, words)],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1", _TOKEN: token} | dict(environment or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            bufsize=0,
        )
    runs = KillableCommand(name=name, folder=folder, server=server, token=token, log=log)
    try:
        assert runs.read_line() == b"ready\n", log.read_text()
        yield runs
    finally:
        server.kill()
        server.communicate()
        for process in runs.processes():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


def run_to_end(command: KillableCommand) -> float:
    """Run the command to its end, which must succeed and leave no process; returns the seconds that it took."""
    start = time.monotonic()
    assert command.start().wait() == 0, command.log.read_text()[-2000:]
    seconds = time.monotonic() - start
    require_no_process(command)
    return seconds


def kill_repeatedly(
    command: KillableCommand, kill_points: tuple[KillPoint, ...], kills: int, rng: random.Random, record: Record
) -> Iterator[None]:
    """Run and kill the command ``kills`` times, at each of the kill points in turn; the caller checks the files after
    each run.

    Runs that end before they are killed do not count, and must succeed.
    """
    num_killed, num_writing, num_ended, outcome = 0, 0, 0, "failed"
    try:
        while num_killed < kills:
            assert num_ended <= 3 * kills + 10, f"{command.name} ends before it is killed"
            is_killed, has_written = _kill(command, kill_points[(num_killed + num_ended) % len(kill_points)], rng)
            num_killed += is_killed
            num_writing += is_killed and has_written
            num_ended += not is_killed
            yield
        outcome = "correct after each"
    finally:
        record(KILLS, [command.name, num_killed, num_writing, num_ended, outcome])


def _kill(command: KillableCommand, moment: KillPoint, rng: random.Random) -> tuple[bool, bool]:
    """Whether the command was still running when it was killed, and whether it had written anything."""
    before = _files(command.folder)
    awaited = _files(command.folder, moment.pattern) if moment.pattern else set()
    run = command.start()
    while moment.pattern and not run.has_ended() and _files(command.folder, moment.pattern) <= awaited:
        time.sleep(0.002)
    time.sleep(rng.uniform(0, moment.within))
    run.kill()
    status = run.wait()
    assert status in (0, -signal.SIGKILL), command.log.read_text()[-2000:]
    require_no_process(command)
    return status != 0, not _files(command.folder) <= before


def require_no_process(command: KillableCommand) -> None:
    """All processes of the command must end within a minute."""
    deadline = time.monotonic() + 60
    while found := command.processes():
        assert time.monotonic() < deadline, f"{command.name} left {list(found.values())}"
        time.sleep(0.02)


def _files(folder: Path, pattern: str = "*") -> set[tuple[Path, int, int]]:
    """The files that match ``pattern``, with inode and modification time, which change when a file is rewritten."""
    found = set()
    # Unlike glob, os.walk tolerates folders that are deleted meanwhile.
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names if name not in _LOCKS):
            with suppress(FileNotFoundError):
                if path.match(pattern):
                    status = path.stat()
                    found.add((path, status.st_ino, status.st_mtime_ns))
    return found


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Contents of all files below a folder (None for folders) by relative path, including temporary ones.

    Without the costs of units, which differ between runs.
    """
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if COSTS_FOLDER not in path.parts
    }
