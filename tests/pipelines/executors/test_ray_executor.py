"""With real clusters: one of its own on this machine, and one of two nodes that it is only given the address of."""

import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from datasets.errors import UserError
from pipelines.executors.execution import run_units
from pipelines.executors.work import UnitOutcome
from pipelines.generation.units import Unit
from pipelines.settings.config import ExecutorConfig
from tests.pipelines.workers import BrokenWorker, DyingWorker, EchoWorker

ROOT = Path(__file__).resolve().parents[3]


def settings(address: str | None = None) -> ExecutorConfig:
    return ExecutorConfig(name="ray", workers=2, address=address, max_attempts=2)


def outcomes(log: Path, *ids: str, address: str | None = None) -> dict[str, UnitOutcome]:
    units = [Unit(id=name, requests=()) for name in ids]
    made = list(run_units(units, partial(EchoWorker, log), settings(address)))
    assert len(made) == len(ids)
    return {outcome.unit: outcome for outcome in made}


def test_poison_is_given_up_the_killed_is_retried_and_all_else_is_made_once(tmp_path: Path) -> None:
    good = [f"ok-{i}" for i in range(6)]
    results = outcomes(tmp_path, "ok-0", "exit-1", "raise-1", "kill-once-1", *good[1:])
    assert {name for name, outcome in results.items() if outcome.error} == {"exit-1", "raise-1"}
    assert "poison in raise-1" in results["raise-1"].error
    assert "died" in results["exit-1"].error
    assert results["kill-once-1"].attempts == 2
    for name in good:  # units that waited behind a death are not charged for it, nor made twice
        assert results[name].attempts == 1
        assert (tmp_path / name).read_text() == "x"
    assert (tmp_path / "exit-1").read_text() == (tmp_path / "raise-1").read_text() == "xx"
    assert {results[name].record["threads"] for name in good} == {"1"}
    assert os.getpid() not in {results[name].record["pid"] for name in good}


def test_workers_that_cannot_start_end_the_run_with_their_reason(tmp_path: Path) -> None:
    unit = Unit(id="ok-1", requests=())
    with pytest.raises(UserError, match="no weights here"):
        list(run_units([unit], BrokenWorker, settings()))
    with pytest.raises(UserError, match="die while they start"):
        list(run_units([unit], DyingWorker, settings()))


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    yield cluster.address
    cluster.shutdown()


@pytest.mark.skipif(
    " " in sys.executable, reason="nodes that Ray starts itself take no interpreter in a path with a space"
)
def test_a_cluster_of_two_nodes_at_its_address(tmp_path: Path, two_nodes: str) -> None:
    results = outcomes(tmp_path, *(f"meet-{i}" for i in range(6)), "exit-1", address=two_nodes)
    assert [name for name, outcome in results.items() if outcome.error] == ["exit-1"]
    assert len({outcome.record["pid"] for outcome in results.values() if not outcome.error}) >= 2
