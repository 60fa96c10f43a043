"""Atomic writes are complete or absent, with concurrent writers and after killed ones."""

import multiprocessing
import os
from pathlib import Path

import pytest

from driveforge.datasets.files.atomic import WriteError, atomic_file, create_file, remove_partial_files, write_atomic

SIZE = 200_000


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def replace_many(path: Path, letter: str) -> None:
    for _ in range(30):
        write_atomic(path, letter.encode() * SIZE)


def create(path: Path, letter: str) -> None:
    os._exit(7 if create_file(path, letter.encode() * SIZE) else 0)


def test_concurrent_writers_never_mix_their_content(tmp_path: Path) -> None:
    path, fork = tmp_path / "file", multiprocessing.get_context("fork")
    write_atomic(path, b"a" * SIZE)
    writers = [fork.Process(target=replace_many, args=(path, letter)) for letter in "bcd"]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        content = path.read_bytes()
        assert len(content) == SIZE and len(set(content)) == 1, "complete and from one writer"
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert names(tmp_path) == ["file"]


def test_one_of_several_creators_of_a_file_succeeds(tmp_path: Path) -> None:
    path, fork = tmp_path / "deep" / "file", multiprocessing.get_context("fork")
    writers = [fork.Process(target=create, args=(path, letter)) for letter in "bcde"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(writer.exitcode or 0 for writer in writers) == [0, 0, 0, 7]
    assert len(set(path.read_bytes())) == 1 and path.stat().st_size == SIZE
    assert names(path.parent) == ["file"]


def test_a_killed_writer_leaves_the_old_file_and_the_next_removes_its_partial_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")
    if (pid := os.fork()) == 0:
        with atomic_file(path) as file:
            file.write(b"half" * SIZE)
            file.flush()
            os._exit(0)
    os.waitpid(pid, 0)
    assert path.read_bytes() == b"old" and len(names(tmp_path)) == 2
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new" and names(tmp_path) == ["file"]


def test_partial_files_are_removed(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), atomic_file(tmp_path / "file") as file:
        assert remove_partial_files(tmp_path) == [Path(file.name)]
        raise KeyboardInterrupt
    assert names(tmp_path) == []


def test_a_write_error_names_the_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match=r"file/inner cannot be written \(.+\)"):
        write_atomic(tmp_path / "file" / "inner", b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(WriteError, match="folder cannot be written"):
        write_atomic(tmp_path / "folder", b"content")
    assert names(tmp_path) == ["file", "folder"]
