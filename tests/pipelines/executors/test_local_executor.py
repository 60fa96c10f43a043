from functools import partial
from pathlib import Path

from pipelines.executors.execution import run_units
from pipelines.generation.units import Unit
from pipelines.settings.config import ExecutorConfig
from tests.pipelines.workers import EchoWorker

SETTINGS = ExecutorConfig(name="local", workers=1, address=None, max_attempts=3)


def units(*ids: str) -> list[Unit]:
    return [Unit(id=name, requests=()) for name in ids]


def test_units_are_made_in_order_by_one_worker(tmp_path: Path) -> None:
    outcomes = list(run_units(units("ok-1", "ok-2", "ok-3"), partial(EchoWorker, tmp_path), SETTINGS))
    assert [(o.unit, o.attempts, o.error) for o in outcomes] == [("ok-1", 1, ""), ("ok-2", 1, ""), ("ok-3", 1, "")]
    assert (tmp_path / "workers").read_text() == "x"


def test_a_poison_unit_is_given_up_and_the_rest_goes_on(tmp_path: Path) -> None:
    poison, good = run_units(units("raise-1", "ok-1"), partial(EchoWorker, tmp_path), SETTINGS)
    assert poison.attempts == 3
    assert "poison in raise-1" in poison.error
    assert (tmp_path / "raise-1").read_text() == "xxx"
    assert good.error == ""


def test_no_units_need_no_worker(tmp_path: Path) -> None:
    assert list(run_units([], partial(EchoWorker, tmp_path), SETTINGS)) == []
    assert not (tmp_path / "workers").exists()
