"""File names are printed literally, even if they look like rich markup."""

from pathlib import Path

import pytest

from driveforge.pipelines.cli import main
from driveforge.pipelines.console import print_result

NAMES = ["[red]a[/red]", "[/]", "a[/b", "[bold", ":smile:", "[link=x]y", "\\[x]", "[0]"]


@pytest.mark.parametrize("name", NAMES)
def test_results_are_printed_literally(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_result(f"runs/{name}/shards", prefix=f"{name}: ", style="red")
    assert capsys.readouterr().out == f"{name}: runs/{name}/shards\n"


def test_undecodable_bytes_are_question_marks(capsys: pytest.CaptureFixture[str]) -> None:
    print_result("caf\udce9.mp4")
    assert capsys.readouterr().out == "caf?.mp4\n"


@pytest.mark.parametrize("name", ["[red]a[b :smile: [!]"])
def test_commands_print_folder_names_literally(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / f"torn{name}.mp4").write_bytes(b"torn")
    (folder / f"{name}.avi").write_bytes(b"")
    out = folder / "m.parquet"
    assert main(["measure", str(folder), "--out", str(out), f"run_dir={folder}"]) == 1
    printed = capsys.readouterr().out
    assert f"torn{name}: {folder / f'torn{name}.mp4'}: " in printed
    assert f"0 clips measured, 1 could not be read; {out}" in printed
    assert f"1 videos in unsupported formats were skipped (.avi), the first is {folder / f'{name}.avi'}; " in printed
