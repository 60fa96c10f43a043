"""A Ray cluster of three nodes loses one to SIGKILL, and another joins: generation goes on and gives the same clips."""

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from driveforge.datasets.stores.remote import RemoteStore
from driveforge.datasets.stores.working_copy import working_copy
from driveforge.pipelines.generate.executors.attempts import AttemptLog
from driveforge.pipelines.generate.executors.execution import run_units
from driveforge.pipelines.generate.worker import GenerationWorker
from tests.faults.test_store_kills import files_of
from tests.pipelines.generators import FakeGenerator
from tests.pipelines.small_plans import NUM_UNITS, executor, small_plan

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def cluster(store_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head without workers and two nodes with one each; they have the credentials of the store."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


def kill_a_node(cluster: Any) -> None:
    """Kill the raylet of a node with a worker."""
    (node, *_) = [node for node in cluster.list_all_nodes() if node != cluster.head_node]
    os.kill(node.all_processes["raylet"][0].process.pid, signal.SIGKILL)


@pytest.mark.timeout(600)
@pytest.mark.skipif(" " in sys.executable, reason="Ray cannot start workers whose Python path contains a space")
def test_a_killed_node_costs_at_most_a_unit(cluster: Any, store_url: str, finished_run: Path) -> None:
    whole = files_of(finished_run / "candidates")
    settings = replace(executor("ray"), address=cluster.address, max_attempts=3)
    with working_copy(store_url, (), print) as copy:
        root = copy.folder / "candidates"
        units, store = small_plan(root).units, RemoteStore(f"{store_url}/candidates")
        worker = partial(GenerationWorker, partial(FakeGenerator, seconds=1.5), store)
        outcomes = []
        for outcome in run_units(units, worker, settings, AttemptLog(store)):
            outcomes.append(outcome)
            if len(outcomes) == 1:
                kill_a_node(cluster)
            if len(outcomes) == 2:
                cluster.add_node(num_cpus=1)
    assert [outcome.error for outcome in outcomes] == [""] * NUM_UNITS
    assert sum(outcome.attempts - 1 for outcome in outcomes) <= 1, "a unit at most is made again"
    assert {entry["path"]: store.read(entry["path"]) for entry in store.walk()} == whole
