"""Plans: grouped requests, written once, read one by one and checked."""

import json
from pathlib import Path

import numpy as np
import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.scene_json import scene_to_json
from driveforge.pipelines.generate.requests import (
    SCENES_FOLDER,
    PlannedRequest,
    Request,
    canonical_json,
    request_to_json,
    store_scene,
)
from driveforge.pipelines.generate.units import (
    GenerationPlan,
    append_units,
    iter_unit_ids,
    open_or_create_plan,
    read_plan,
    unit_id,
)
from tests.defaults import sampler_settings
from tests.pipelines.scenes import driving_scene
from tests.pipelines.small_plans import small_plan


def requests(root: Path, count: int, seed: int = 0, start: int = 0) -> list[PlannedRequest]:
    name = store_scene(root / SCENES_FOLDER, canonical_json(scene_to_json(driving_scene("s"))))
    return [
        PlannedRequest(
            clip_id=f"s-{i}",
            scene=name,
            seed=seed + i,
            model="m",
            settings=sampler_settings(num_steps=1 + i % 2),
            edit="as-recorded",
            first_frames="",
        )
        for i in range(start, start + count)
    ]


def clips(plan: GenerationPlan) -> list[tuple[str, ...]]:
    return [unit.clip_ids for unit in plan.units]


def test_units_contain_every_request_once_in_order(tmp_path: Path) -> None:
    plan = open_or_create_plan(tmp_path, requests(tmp_path, 7), 3)
    assert clips(plan) == [("s-0", "s-1", "s-2"), ("s-3", "s-4", "s-5"), ("s-6",)]
    assert [unit.id for unit in plan.units] == ["unit-000000", "unit-000001", "unit-000002"]
    assert list(iter_unit_ids(plan.units)) == list(iter_unit_ids(list(plan.units))) == [u.id for u in plan.units]
    assert [(r.seed, r.settings.num_steps) for r in plan.units[1].requests] == [(3, 2), (4, 1), (5, 2)]


def test_units_are_taken_in_any_order_and_loaded_when_taken(tmp_path: Path) -> None:
    plan = open_or_create_plan(tmp_path, requests(tmp_path, 7), 2)
    assert len(plan.units) == 4 and plan.units[-1].clip_ids == ("s-6",)
    assert [unit.id for unit in plan.units[1:3]] == ["unit-000001", "unit-000002"]
    request = plan.units[2].requests[1]
    assert (request.scene.clip_id, request.model) == ("s-5", "m")
    np.testing.assert_array_equal(request.scene.ego_to_world, driving_scene().ego_to_world)
    for path in (tmp_path / SCENES_FOLDER).iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    assert clips(plan)[2] == ("s-4", "s-5")
    with pytest.raises(UserError, match=r"\.json is damaged: run `driveforge generate`"):
        plan.units[2].requests[1]
    with pytest.raises(IndexError):
        plan.units[4]


def test_names_of_units_sort_like_their_numbers() -> None:
    numbers = [0, 1, 999_998, 999_999, 1_000_000, 1_000_001, 9_999_999, 10_000_000, 123_456_789]
    names = [unit_id(number) for number in numbers]
    assert names == sorted(names)
    assert names[:4] == ["unit-000000", "unit-000001", "unit-999998", "unit-999999"]


def test_a_plan_is_written_once_and_read_back(tmp_path: Path) -> None:
    made = open_or_create_plan(tmp_path, requests(tmp_path, 5), 2)
    again = open_or_create_plan(tmp_path, requests(tmp_path, 5), 2)
    read = read_plan(tmp_path)
    assert made.id == again.id == read.id
    assert clips(made) == clips(read)


@pytest.mark.parametrize(("count", "seed", "size"), [(6, 0, 2), (4, 0, 2), (5, 0, 3)])
def test_another_plan_is_refused(tmp_path: Path, count: int, seed: int, size: int) -> None:
    open_or_create_plan(tmp_path, requests(tmp_path, 5), 2)
    with pytest.raises(UserError, match=r"holds another plan.*another run_dir"):
        open_or_create_plan(tmp_path, requests(tmp_path, count, seed), size)
    assert len(read_plan(tmp_path).units) == 3, "the existing plan is kept"


def test_a_plan_of_an_older_version_goes_on(tmp_path: Path) -> None:
    """Its units hold whole requests. The clip ids tell whether it is the same plan, since they derive from them."""
    plan = small_plan(tmp_path / "new")
    old = [
        {"unit": unit.id, "threads": 1, "requests": [request_to_json(request) for request in unit.requests]}
        for unit in plan.units
    ]
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "plan.jsonl").write_bytes(b"".join(canonical_json(record) + b"\n" for record in old))
    read = small_plan(tmp_path / "old")
    assert read.id != plan.id and clips(read) == clips(plan)
    assert [request.id for unit in read.units for request in unit.requests] == [
        request.id for unit in plan.units for request in unit.requests
    ]


def test_a_changed_line_is_another_plan(tmp_path: Path) -> None:
    open_or_create_plan(tmp_path, requests(tmp_path, 5), 2)
    path = tmp_path / "plan.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"seed":3', b'"seed":7'))
    with pytest.raises(UserError, match=r"holds another plan.* from line 2 on"):
        open_or_create_plan(tmp_path, requests(tmp_path, 5), 2)


def test_units_are_appended_as_a_further_part(tmp_path: Path) -> None:
    first = open_or_create_plan(tmp_path, requests(tmp_path, 5), 2)
    second = append_units(tmp_path, requests(tmp_path, 3, start=5), 2)
    third = append_units(tmp_path, requests(tmp_path, 1, start=8), 2)
    assert len({first.id, second.id, third.id}) == 3
    assert sorted(path.name for path in tmp_path.glob("*.jsonl")) == ["plan-02.jsonl", "plan-03.jsonl", "plan.jsonl"]
    assert clips(third)[2:] == [("s-4",), ("s-5", "s-6"), ("s-7",), ("s-8",)]
    assert [unit.id for unit in third.units] == [unit_id(number) for number in range(6)]
    assert [third.units[number].clip_ids for number in range(6)] == clips(third)
    assert open_or_create_plan(tmp_path, requests(tmp_path, 5), 2).id == third.id, "the first part is the same"


def test_invalid_plans_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least 1"):
        open_or_create_plan(tmp_path, requests(tmp_path, 1), 0)
    with pytest.raises(UserError, match="nothing was generated"):
        read_plan(tmp_path)
    open_or_create_plan(tmp_path, requests(tmp_path, 2), 1)
    with open(tmp_path / "plan.jsonl", "a") as file:
        file.write('{"unit": "torn')
    for read in (read_plan, lambda root: open_or_create_plan(root, requests(root, 2), 1)):
        with pytest.raises(UserError, match=r"line 3.*delete it"):
            read(tmp_path)
    for damaged in (
        b"[]\n",
        b"null\n",
        b'{"unit": [], "requests": 3}\n',
        b'{"unit": "unit-000001", "requests": []}\n',
        b'{"unit": "unit-000000", "requests": [null]}\n',
        b'{"unit": "unit-000000", "requests": [{"scene": 3}]}\n',
        b"\xff\n",
    ):
        (tmp_path / "plan.jsonl").write_bytes(damaged)
        for take in (lambda: list(read_plan(tmp_path).units), lambda: read_plan(tmp_path).units[0]):
            with pytest.raises(UserError, match="line 1"):
                take()


def test_an_invalid_request_is_refused_when_it_is_taken(tmp_path: Path) -> None:
    open_or_create_plan(tmp_path, requests(tmp_path, 1), 1)
    record = json.loads((tmp_path / "plan.jsonl").read_bytes())
    for change in ({"settings": [{}]}, {"settings": []}, {"requests": [record["requests"][0] | {"seed": "x"}]}):
        (tmp_path / "plan.jsonl").write_text(json.dumps(record | change) + "\n")
        (unit,) = read_plan(tmp_path).units
        assert unit.clip_ids == ("s-0",)
        with pytest.raises(UserError, match="line 1: is not a request"):
            unit.requests[0]


def test_a_stored_request_is_the_request_itself(tmp_path: Path) -> None:
    (planned,) = requests(tmp_path, 1)
    whole = Request(
        scene=driving_scene("s-0"), seed=0, model="m", settings=planned.settings, edit="as-recorded", first_frames=""
    )
    assert planned.load(tmp_path).id == whole.id
    assert json.loads((tmp_path / SCENES_FOLDER / planned.scene).read_bytes())["clip_id"] == "s"
