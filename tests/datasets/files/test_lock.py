"""A lock keeps other processes waiting, and a killed process releases it."""

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.lock import file_lock

HOLD = """
import sys
from pathlib import Path
from driveforge.datasets.files.lock import file_lock
path = Path(sys.argv[1])
with file_lock(path):
    print("held", flush=True)
    sys.stdin.read()
if "remove" in sys.argv:
    path.parent.rmdir()
"""


def start_holder(path: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def wait_until_held(holder: subprocess.Popen[str]) -> None:
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"


def test_a_second_process_waits_until_the_first_releases_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / ".lock"
    with file_lock(path):
        other = start_holder(path)
        with pytest.raises(subprocess.TimeoutExpired):
            other.communicate(timeout=1.0)
    output, _ = other.communicate(timeout=30)
    assert output == "held\n"
    assert list(path.parent.iterdir()) == [], "the lock file is removed"


def test_a_lock_that_is_not_waited_for_names_its_holder(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    other = start_holder(path)
    wait_until_held(other)
    message = rf"\(process {other.pid} on .* holds {path}; run this again"
    with pytest.raises(UserError, match=message), file_lock(path, blocking=False):
        pass
    other.communicate()
    with file_lock(path, blocking=False):
        pass


def test_a_wait_names_the_holder_and_survives_the_removal_of_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "run" / ".lock"
    lines: list[str] = []
    other = start_holder(path, "remove")
    wait_until_held(other)
    timer = threading.Timer(0.5, other.communicate)
    timer.start()
    with file_lock(path, lines.append):
        assert path.exists()
    timer.join()
    (line,) = lines
    assert line.startswith("waiting for ") and f"(process {other.pid} on " in line


def test_a_killed_process_releases_the_lock(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    other = start_holder(path)
    wait_until_held(other)
    other.kill()
    other.communicate()
    with file_lock(path):
        pass


def test_a_lock_in_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be locked"), file_lock(tmp_path / "file" / ".lock"):
        pass


def test_the_lock_file_of_another_process_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "run" / ".lock"
    with file_lock(path):
        shutil.rmtree(path.parent)
        path.parent.mkdir()
        path.write_text("of another process")
    assert path.read_text() == "of another process"
