"""The state of nights on disk."""

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from driveforge.datasets.errors import UserError
from driveforge.pipelines.nightly.night import (
    Night,
    find_unfinished,
    known_clips,
    list_nights,
    new_name,
    now,
    write_clips,
    write_night,
)


def make_night(folder: Path, name: str, **changes: Any) -> Night:
    values = {"data": "d", "num_clips": 1, "num_new": 1, "start": "/base", "champion": "", "base": "/base"}
    night = Night(**{"name": name, "began": now(), **values, **changes})  # type: ignore[arg-type]
    write_night(folder, night)
    write_clips(folder / name, [name])
    return night


def test_a_night_is_read_as_it_was_written(tmp_path: Path) -> None:
    night = make_night(tmp_path, "2026-01-31").after("cache", 1.26).after("finetune", 2.0).after("finetune", 0.5)
    write_night(tmp_path, night)
    (read,) = list_nights(tmp_path)
    assert read == night
    assert read.stages == ("cache", "finetune") and read.seconds == {"cache": 1.3, "finetune": 2.5}
    assert read.has("cache") and not read.has("probe") and not read.is_finished


def test_the_unfinished_night_is_found_whatever_its_date(tmp_path: Path) -> None:
    assert find_unfinished(tmp_path) is None
    yesterday = make_night(tmp_path, "2026-01-30")
    assert find_unfinished(tmp_path) == yesterday
    write_night(tmp_path, replace(yesterday, outcome="refused"))
    assert find_unfinished(tmp_path) is None


def test_clips_of_refused_nights_are_known_and_those_of_given_up_ones_are_not(tmp_path: Path) -> None:
    for name, outcome in {"a": "promoted", "b": "refused", "c": "superseded", "d": ""}.items():
        make_night(tmp_path, name, outcome=outcome)
    assert known_clips(tmp_path) == {"a", "b"}


def test_a_second_night_of_one_day_has_a_number(tmp_path: Path) -> None:
    today = date.today().isoformat()
    names = []
    for _ in range(3):
        names.append(new_name(tmp_path))
        make_night(tmp_path, names[-1], outcome="promoted")
    if date.today().isoformat() == today:
        assert names == [today, f"{today}-2", f"{today}-3"]
    assert [night.name for night in list_nights(tmp_path)] == names


@pytest.mark.parametrize("damage", ["", "{", '{"name": "a"}', "[]"])
def test_a_damaged_state_is_one_line_that_names_the_file(damage: str, tmp_path: Path) -> None:
    make_night(tmp_path, "a")
    (tmp_path / "a" / "night.json").write_text(damage)
    with pytest.raises(UserError, match=r"a/night.json: .*restore it, or move its folder"):
        list_nights(tmp_path)


def test_a_renamed_folder_is_reported(tmp_path: Path) -> None:
    make_night(tmp_path, "a")
    (tmp_path / "a").rename(tmp_path / "b")
    with pytest.raises(UserError, match="is the state of the night a; rename the folder"):
        list_nights(tmp_path)
