"""A lock keeps other processes waiting, and a killed one lets go of it."""

import subprocess
import sys
from pathlib import Path

import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.lock import file_lock

HOLD = """
import sys
from pathlib import Path
from driveforge.datasets.files.lock import file_lock
with file_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_a_second_process_waits_until_the_first_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / ".lock"
    with file_lock(path):
        other = holder(path)
        with pytest.raises(subprocess.TimeoutExpired):
            other.communicate(timeout=1.0)
    said, _ = other.communicate(timeout=30)
    assert said == "held\n"


def test_who_does_not_wait_is_told_who_holds_it(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    other = holder(path)
    assert other.stdout is not None and other.stdout.readline() == "held\n"
    told = rf"\(process {other.pid} on .* holds {path}; run this again"
    with pytest.raises(UserError, match=told), file_lock(path, blocking=False):
        pass
    other.communicate()
    with file_lock(path, blocking=False):
        pass


def test_a_killed_process_lets_go(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    other = holder(path)
    assert other.stdout is not None and other.stdout.readline() == "held\n"
    other.kill()
    other.communicate()
    with file_lock(path):
        pass
