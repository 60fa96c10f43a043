"""Plans: grouped requests, written once and checked."""

from pathlib import Path

import pytest

from driveforge.datasets.errors import UserError
from driveforge.pipelines.generate.requests import Request
from driveforge.pipelines.generate.units import make_units, open_or_create_plan, read_plan
from tests.defaults import sampler_settings
from tests.pipelines.scenes import driving_scene


def requests(count: int, seed: int = 0) -> list[Request]:
    return [
        Request(
            scene=driving_scene(f"s-{i}"), seed=seed + i, model="m", settings=sampler_settings(), edit="as-recorded"
        )
        for i in range(count)
    ]


def test_units_contain_every_request_once_in_order() -> None:
    units = make_units(requests(7), 3)
    assert [len(unit.requests) for unit in units] == [3, 3, 1]
    assert [r.scene.clip_id for unit in units for r in unit.requests] == [f"s-{i}" for i in range(7)]
    assert len({unit.id for unit in units}) == 3


def test_a_plan_is_written_once_and_read_back(tmp_path: Path) -> None:
    made = open_or_create_plan(tmp_path, requests(5), 2)
    again = open_or_create_plan(tmp_path, requests(5), 2)
    read = read_plan(tmp_path)
    assert made.id == again.id == read.id
    assert [[r.id for r in u.requests] for u in read.units] == [[r.id for r in u.requests] for u in made.units]


@pytest.mark.parametrize(("count", "seed", "size"), [(6, 0, 2), (5, 1, 2), (5, 0, 3)])
def test_another_plan_is_refused(tmp_path: Path, count: int, seed: int, size: int) -> None:
    open_or_create_plan(tmp_path, requests(5), 2)
    with pytest.raises(UserError, match=r"holds another plan.*another run_dir"):
        open_or_create_plan(tmp_path, requests(count, seed), size)
    assert len(read_plan(tmp_path).units) == 3, "the existing plan is kept"


def test_invalid_plans_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="twice: s-0"):
        make_units([*requests(1), *requests(1)], 2)
    with pytest.raises(UserError, match="at least 1"):
        make_units(requests(1), 0)
    with pytest.raises(UserError, match="nothing was generated"):
        read_plan(tmp_path)
    open_or_create_plan(tmp_path, requests(2), 1)
    with open(tmp_path / "plan.jsonl", "a") as file:
        file.write('{"unit": "torn')
    for read in (read_plan, lambda root: open_or_create_plan(root, requests(2), 1)):
        with pytest.raises(UserError, match=r"line 3.*delete it"):
            read(tmp_path)
    for damaged in (
        b"[]\n",
        b"null\n",
        b'{"unit": [], "requests": 3}\n',
        b'{"unit": "u", "requests": [null]}\n',
        b"\xff",
    ):
        (tmp_path / "plan.jsonl").write_bytes(damaged)
        with pytest.raises(UserError, match="line 1"):
            read_plan(tmp_path)
