"""Simulated worlds are written once, complete, and never over existing files."""

from dataclasses import replace
from pathlib import Path

import pytest

from driveforge.datasets.errors import UserError
from driveforge.pipelines import cli
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.simulate import simulate
from tests.defaults import make_framing

SMALL = ["simulate=demo", "simulate.num_scenes=1", "simulate.seconds=1", "simulate.replay_clips=1"]


def _content(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_world_is_simulated_once_and_a_missing_part_again(tmp_path: Path) -> None:
    settings = compose(SMALL).simulate
    simulate(settings, tmp_path, make_framing())
    made = _content(tmp_path)
    assert {name.split("/")[0] for name in made} == {"nuscenes", "replay"}
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    simulate(settings, tmp_path, make_framing())
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == times
    (tmp_path / "replay").rename(tmp_path.parent / "gone")
    simulate(settings, tmp_path, make_framing())
    assert set(_content(tmp_path)) == set(made)


@pytest.mark.parametrize("name", ["nuscenes", "replay", "nuscenes/v1.0-trainval"])
def test_a_folder_of_the_user_is_refused_and_not_changed(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = tmp_path / name
    theirs.mkdir(parents=True)
    (theirs / "data.bin").write_bytes(b"theirs")
    assert cli.main(["simulate", "--out", str(tmp_path), *SMALL]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "is not changed" in said
    assert _content(tmp_path) == {f"{name}/data.bin": b"theirs"}, "nothing was removed or written"


def test_a_world_of_other_settings_is_refused_and_the_setting_is_named(tmp_path: Path) -> None:
    settings = compose(SMALL).simulate
    simulate(settings, tmp_path, make_framing())
    made = _content(tmp_path)
    with pytest.raises(UserError, match=r"simulate\.seed was 0"):
        simulate(replace(settings, seed=1), tmp_path, make_framing())
    assert _content(tmp_path) == made
