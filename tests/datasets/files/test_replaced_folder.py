"""Folders that replace their older version and nothing else."""

import json
from pathlib import Path

import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.replaced_folder import replaced_folder


def write(path: Path, text: str, kind: str = "set") -> None:
    with replaced_folder(path, kind) as folder:
        (folder / "part").mkdir()
        (folder / "part" / "a.txt").write_text(text)


def contents(path: Path) -> list[str]:
    return sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())


def test_a_folder_is_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "export"
    path.mkdir()
    for text in ("first", "second"):
        write(path, text)
        assert (path / "part" / "a.txt").read_text() == text
    assert contents(tmp_path) == ["export/driveforge.json", "export/part/a.txt"]
    assert json.loads((path / "driveforge.json").read_text()) == {
        "generator": "driveforge", "kind": "set", "files": {"part/a.txt": 6},
    }  # fmt: skip


def test_the_old_folder_stays_if_the_new_one_fails(tmp_path: Path) -> None:
    path = tmp_path / "export"
    write(path, "first")
    with pytest.raises(RuntimeError), replaced_folder(path, "set") as folder:
        (folder / "b.txt").write_text("half")
        raise RuntimeError
    assert contents(tmp_path) == ["export/driveforge.json", "export/part/a.txt"]


@pytest.mark.parametrize("change", ["added", "edited", "removed", "linked", "kind"])
def test_a_folder_that_is_not_as_it_was_written_is_not_replaced(tmp_path: Path, change: str) -> None:
    path = tmp_path / "export"
    write(path, "first", "other" if change == "kind" else "set")
    if change == "added":
        (path / "notes.txt").write_text("mine")
    elif change == "edited":
        (path / "part" / "a.txt").write_text("longer than first")
    elif change == "removed":
        (path / "part" / "a.txt").unlink()
    elif change == "linked":
        (path / "elsewhere").symlink_to(tmp_path)
    before = contents(path)
    with pytest.raises(UserError, match=r"export .*is not replaced; move it away"):
        write(path, "second")
    assert contents(path) == before


def test_a_folder_of_someone_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="exists already and is not replaced"):
        write(tmp_path, "x")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match="is not replaced"):
        write(tmp_path / "link", "x")


def test_an_interrupted_swap_is_completed(tmp_path: Path) -> None:
    """Killed after the old folder was renamed: the next export removes it."""
    path = tmp_path / "export"
    write(path, "first")
    (path / ".driveforge-scratch").touch()
    path.rename(tmp_path / ".export.replaced")
    write(path, "second")
    assert contents(tmp_path) == ["export/driveforge.json", "export/part/a.txt"]
