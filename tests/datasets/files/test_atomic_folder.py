"""Atomic folders appear complete, and folders of the user are never removed."""

from pathlib import Path

import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic_folder import SCRATCH_MARKER, atomic_folder, create_scratch, remove_scratch


def test_a_folder_appears_complete_and_without_a_marker(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "made") as scratch:
        (scratch / "a.txt").write_text("a")
        assert not (tmp_path / "made").exists()
    assert [path.name for path in tmp_path.rglob("*")] == ["made", "a.txt"]


def test_a_failed_block_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "made") as scratch:
        (scratch / "deep").mkdir()
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_the_scratch_folder_of_a_killed_process_is_removed(tmp_path: Path) -> None:
    create_scratch(tmp_path / ".made.tmp")
    (tmp_path / ".made.tmp" / "torn").write_text("t")
    with atomic_folder(tmp_path / "made") as scratch:
        assert [path.name for path in scratch.iterdir()] == [SCRATCH_MARKER]


@pytest.mark.parametrize("name", ["made", ".made.tmp"])
def test_a_folder_of_the_user_is_not_removed(name: str, tmp_path: Path) -> None:
    theirs = tmp_path / name
    theirs.mkdir()
    (theirs / "thesis.txt").write_text("years")
    with pytest.raises(UserError, match="move it away"), atomic_folder(tmp_path / "made"):
        pass
    assert (theirs / "thesis.txt").read_text() == "years"


def test_a_link_to_a_marked_folder_is_not_followed(tmp_path: Path) -> None:
    create_scratch(tmp_path / "scratch")
    (tmp_path / "link").symlink_to(tmp_path / "scratch")
    with pytest.raises(UserError, match="move it away"):
        remove_scratch(tmp_path / "link")
    assert (tmp_path / "scratch" / SCRATCH_MARKER).exists()


def test_a_replaceable_folder_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "made"
    for content in ("first", "second"):
        with atomic_folder(path, is_replaceable=lambda folder: (folder / "a.txt").exists()) as scratch:
            (scratch / "a.txt").write_text(content)
            assert path.exists() == (content == "second")
        assert [entry.name for entry in tmp_path.rglob("*")] == ["made", "a.txt"]
        assert (path / "a.txt").read_text() == content
    with pytest.raises(KeyboardInterrupt), atomic_folder(path, is_replaceable=lambda folder: True):
        raise KeyboardInterrupt
    assert (path / "a.txt").read_text() == "second"
    with pytest.raises(UserError, match="is not replaced"), atomic_folder(path, is_replaceable=lambda folder: False):
        pass


def test_a_replaced_folder_of_a_killed_process_is_removed(tmp_path: Path) -> None:
    create_scratch(tmp_path / ".made.replaced")
    (tmp_path / ".made.replaced" / "a.txt").write_text("old")
    with atomic_folder(tmp_path / "made") as scratch:
        (scratch / "a.txt").write_text("new")
    assert [entry.name for entry in tmp_path.rglob("*")] == ["made", "a.txt"]
