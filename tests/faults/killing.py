"""SIGKILL to a command and all that it started, at random moments, again and again; and what must not be left of it."""

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
from typing import IO

import pytest
from _pytest.mark import ParameterSet

from tests.faults.outcomes import KILLS, Record

ROOT = Path(__file__).resolve().parents[2]
# In the environment of whatever a command starts, in other process groups too.
_TOKEN = "DRIVEFORGE_KILLED_AS"
# What is new as soon as a command begins, before it writes anything.
_LOCKS = (".lock", ".caches.lock", ".writer", ".driveforge-scratch")


def few_or_many(few: int, *more: tuple[object, object]) -> list[ParameterSet]:
    """How often a command is killed: by default, and in the slow part; ``more`` are further values for each."""
    by_default, slowly = zip(*more, strict=True) if more else ((), ())
    marks = [pytest.mark.slow, pytest.mark.timeout(4 * 3600)]
    return [
        pytest.param(few, *by_default, id=str(few), marks=pytest.mark.timeout(1800)),
        pytest.param(100, *slowly, id="100", marks=marks),
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """Up to ``within`` seconds after a file whose path ends like ``pattern`` is new or changed, or after the start."""

    pattern: str = ""
    within: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Victim:
    """A command that writes below ``folder``; ``forks`` starts its runs (``tests.faults.staging``)."""

    name: str
    folder: Path
    forks: "subprocess.Popen[bytes]"
    token: str
    said: Path

    def start(self) -> "Run":
        self._to.write(b"\n")
        return Run(group=int(self._from.readline()), status=self._from)

    @property
    def _to(self) -> IO[bytes]:
        assert self.forks.stdin is not None
        return self.forks.stdin

    @property
    def _from(self) -> IO[bytes]:
        assert self.forks.stdout is not None
        return self.forks.stdout

    def processes(self) -> dict[int, str]:
        """The command lines of all that the command started and that still runs, in whatever process group."""
        wanted, found = f"{_TOKEN}={self.token}".encode(), {}
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended, or is another user's
                if int(process.name) != self.forks.pid and wanted in (process / "environ").read_bytes().split(b"\0"):
                    line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    found[int(process.name)] = line
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """``status`` gives a line when the run has ended."""

    group: int
    status: IO[bytes]

    def has_ended(self) -> bool:
        return bool(select.select([self.status], [], [], 0)[0])

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.group, signal.SIGKILL)

    def wait(self) -> int:
        return int(self.status.readline())


@contextmanager
def victim(
    name: str, folder: Path, command: str, *words: object, environment: Mapping[str, str] | None = None
) -> Iterator[Victim]:
    """A command that is ready to be started often, without its imports; all that was started is ended afterwards."""
    token, said = uuid.uuid4().hex, folder.parent / f"{folder.name}.said"
    with said.open("wb") as log:
        forks = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.staging", command, *map(str, words)],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1", _TOKEN: token} | dict(environment or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            bufsize=0,
        )
    made = Victim(name=name, folder=folder, forks=forks, token=token, said=said)
    try:
        assert made._from.readline() == b"ready\n", said.read_text()
        yield made
    finally:
        forks.kill()
        forks.communicate()
        for process in made.processes():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


def finish(command: Victim) -> float:
    """Runs it to its end, which must be a good one that leaves no process; the seconds that it took."""
    began = time.monotonic()
    assert command.start().wait() == 0, command.said.read_text()[-2000:]
    seconds = time.monotonic() - began
    require_no_process(command)
    return seconds


def killed(
    command: Victim, moments: tuple[Moment, ...], kills: int, rng: random.Random, record: Record
) -> Iterator[None]:
    """Kills it so many times, at one of the moments after the other; the caller looks at what is there after each run.

    Runs that ended before their kill came are no kills, and must have ended well.
    """
    landed, writing, ended, outcome = 0, 0, 0, "failed"
    try:
        while landed < kills:
            assert ended <= 3 * kills + 10, f"{command.name} ends before it is killed"
            is_killed, has_written = _kill(command, moments[(landed + ended) % len(moments)], rng)
            landed, writing, ended = landed + is_killed, writing + (is_killed and has_written), ended + (not is_killed)
            yield
        outcome = "right after each"
    finally:
        record(KILLS, [command.name, landed, writing, ended, outcome])


def _kill(command: Victim, moment: Moment, rng: random.Random) -> tuple[bool, bool]:
    """Whether it still ran, and whether it had written anything by then."""
    before = _files(command.folder)
    awaited = _files(command.folder, moment.pattern) if moment.pattern else set()
    run = command.start()
    while moment.pattern and not run.has_ended() and _files(command.folder, moment.pattern) <= awaited:
        time.sleep(0.002)
    time.sleep(rng.uniform(0, moment.within))
    run.kill()
    status = run.wait()
    assert status in (0, -signal.SIGKILL), command.said.read_text()[-2000:]
    require_no_process(command)
    return status != 0, not _files(command.folder) <= before


def require_no_process(command: Victim) -> None:
    """Of all that it started nothing may run on for long."""
    deadline = time.monotonic() + 60
    while found := command.processes():
        assert time.monotonic() < deadline, f"{command.name} left {list(found.values())}"
        time.sleep(0.02)


def _files(folder: Path, pattern: str = "*") -> set[tuple[Path, int, int]]:
    """Each file whose path ends as ``pattern`` says, with what changes when it is written again."""
    found = set()
    # Unlike glob, this may meet folders that are going.
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names if name not in _LOCKS):
            with suppress(FileNotFoundError):
                if path.match(pattern):
                    status = path.stat()
                    found.add((path, status.st_ino, status.st_mtime_ns))
    return found


def everything(folder: Path) -> dict[str, bytes | None]:
    """The files and folders below a folder by their names there, scratch too: all that a run may leave."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }
