"""Files that are there whole or not at all, with several writers at once, and after one that was killed."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from datasets.durable import create_file, replace_file, replacing

HALF_WRITTEN = """
import sys, time
from pathlib import Path
from datasets.durable import replacing
with replacing(Path(sys.argv[1])) as file:
    file.write(bytes(100_000))
    print("written", flush=True)
    time.sleep(100)
"""


@pytest.mark.parametrize("write", [create_file, replace_file])
def test_what_a_killed_writer_left_goes_with_the_next(tmp_path: Path, write: Callable[[Path, bytes], object]) -> None:
    path = tmp_path / "a.json"
    with subprocess.Popen([sys.executable, "-c", HALF_WRITTEN, path], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == b"written\n"
        writer.kill()
    assert [name.suffix for name in tmp_path.iterdir()] == [".tmp"], "nothing half-written has a name"
    write(path, b"whole")
    assert {name: name.read_bytes() for name in tmp_path.iterdir()} == {path: b"whole"}


def test_writers_at_once_leave_the_whole_content_of_one(tmp_path: Path) -> None:
    path, contents = tmp_path / "a.bin", [bytes([number]) * 200_000 for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(lambda content: replace_file(path, content), contents):
            assert path.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [path]


def test_of_many_that_create_a_file_one_wins(tmp_path: Path) -> None:
    path, contents = tmp_path / "a.bin", [bytes([number]) * 200_000 for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda content: create_file(path, content), contents))
    assert won.count(True) == 1
    assert path.read_bytes() == contents[won.index(True)]
    assert list(tmp_path.iterdir()) == [path]


def test_where_a_block_fails_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    replace_file(path, b"old")
    with pytest.raises(RuntimeError), replacing(path) as file:
        file.write(b"new")
        raise RuntimeError
    assert {name: name.read_bytes() for name in tmp_path.iterdir()} == {path: b"old"}
