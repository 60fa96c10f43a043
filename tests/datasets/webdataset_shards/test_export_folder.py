from pathlib import Path

import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.webdataset_shards.export_folder import UNFINISHED_MARKER, export_folder


@pytest.mark.parametrize("name", ["README.md", "train-00000-0123abcd.tar", "index.json", "thesis.tex"])
def test_a_folder_of_somebody_else_is_refused_and_unchanged(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"a": 1}')
    with pytest.raises(UserError, match="not replaced; move it away"), export_folder(tmp_path):
        pytest.fail("the block does not run")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_at_the_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "shards").write_text("mine")
    with pytest.raises(UserError, match="not an earlier export"), export_folder(tmp_path / "shards"):
        pytest.fail("the block does not run")


def test_an_export_that_was_killed_before_its_index_is_continued(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), export_folder(tmp_path / "shards"):
        raise KeyboardInterrupt
    (tmp_path / "shards" / "train-00000-0123abcd.tar").write_bytes(b"of the killed export")
    assert (tmp_path / "shards" / UNFINISHED_MARKER).exists()
    with pytest.raises(KeyboardInterrupt), export_folder(tmp_path / "shards"):
        raise KeyboardInterrupt
