"""The Ray executor with real clusters: a local one, and one of two nodes at an address."""

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from driveforge.datasets.errors import UserError
from driveforge.pipelines.generate.executors import scheduler
from driveforge.pipelines.generate.executors.attempts import AttemptLog
from driveforge.pipelines.generate.executors.execution import run_units
from driveforge.pipelines.generate.executors.interface import UnitOutcome
from driveforge.pipelines.generate.executors.settings import ExecutorSettings
from driveforge.pipelines.generate.units import WorkUnit
from tests.pipelines.workers import BrokenWorker, DyingWorker, EchoWorker

ROOT = Path(__file__).resolve().parents[4]


def settings(address: str | None = None) -> ExecutorSettings:
    return ExecutorSettings(
        name="ray",
        workers=2,
        address=address,
        max_attempts=2,
        timeout_factor=10.0,
        first_timeout=300.0,
        failure_budget=0.0,
        gpus_per_worker=None,
    )


def outcomes(log: Path, *ids: str, address: str | None = None) -> dict[str, UnitOutcome]:
    units = [WorkUnit(id=name, requests=()) for name in ids]
    made = list(run_units(units, partial(EchoWorker, log), settings(address), AttemptLog(log)))
    assert len(made) == len(ids)
    return {outcome.unit: outcome for outcome in made}


def test_failing_units_fail_killed_ones_are_retried_and_others_are_made_once(tmp_path: Path) -> None:
    good = [f"ok-{i}" for i in range(6)]
    results = outcomes(tmp_path, "ok-0", "exit-1", "raise-1", "segfault-1", "kill-once-1", "threads-1", *good[1:])
    assert {name for name, outcome in results.items() if outcome.error} == {"exit-1", "raise-1", "segfault-1"}
    assert "poison in raise-1" in results["raise-1"].error
    assert "died" in results["exit-1"].error
    assert results["kill-once-1"].attempts == 2
    for name in good:  # the crash of a worker neither counts against other units nor repeats them
        assert results[name].attempts == 1
        assert (tmp_path / name).read_text() == "x"
    assert (tmp_path / "exit-1").read_text() == (tmp_path / "raise-1").read_text() == "xx"
    assert set(results["threads-1"].record["threads"].values()) == {1}
    assert os.getpid() not in {results[name].record["pid"] for name in good}


def test_a_hanging_unit_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "MIN_TIMEOUT", 3.0)
    results = outcomes(tmp_path, "ok-1", "ok-2", "hang-1", "ok-3")
    assert [name for name, outcome in results.items() if outcome.error] == ["hang-1"]
    assert results["hang-1"].attempts == 2 and "stopped after" in results["hang-1"].error


def test_a_full_disk_ends_the_run_and_quarantines_no_unit(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^/cache/full-1 cannot be written \(No space left on device\)"):
        outcomes(tmp_path, "ok-1", "full-1", "ok-2")


def test_workers_that_cannot_start_end_the_run_with_the_reason(tmp_path: Path) -> None:
    unit = WorkUnit(id="ok-1", requests=())
    with pytest.raises(UserError, match="no weights here"):
        list(run_units([unit], BrokenWorker, settings(), AttemptLog(tmp_path)))
    with pytest.raises(UserError, match="terminated 2 times while starting"):
        list(run_units([unit], DyingWorker, settings(), AttemptLog(tmp_path)))


def test_more_gpus_than_the_cluster_has_are_refused(tmp_path: Path) -> None:
    unit, greedy = WorkUnit(id="ok-1", requests=()), replace(settings(), gpus_per_worker=0.5)
    with pytest.raises(UserError, match=r"^executor\.gpus_per_worker=0\.5: the cluster has 0 GPUs; lower it"):
        list(run_units([unit], partial(EchoWorker, tmp_path), greedy, AttemptLog(tmp_path)))


def refusal(log: Path, address: str) -> str:
    """The error for a cluster that cannot be used, raised within half a minute."""
    start = time.monotonic()
    with pytest.raises(UserError) as caught:
        outcomes(log, "ok-1", address=address)
    assert time.monotonic() - start < 30
    assert "\n" not in str(caught.value) and address in str(caught.value)
    return str(caught.value)


def test_an_address_without_a_cluster_is_refused_within_half_a_minute(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        assert "no process listens there" in refusal(tmp_path, address)
        silent.listen()
        assert "no Ray cluster responds" in refusal(tmp_path, address)
    assert "is not HOST:PORT" in refusal(tmp_path, "127.0.0.1:port")
    assert "no process listens there" in refusal(tmp_path, "no-such-host.invalid:6379")


def test_a_cluster_without_cpus_or_of_another_ray_version_is_refused(tmp_path: Path) -> None:
    import ray
    from ray._private import ray_constants
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        assert "has no CPU for a worker" in refusal(tmp_path, cluster.address)
        store, namespace = ray._raylet.GcsClient(address=cluster.address), ray_constants.KV_NAMESPACE_CLUSTER
        known = json.loads(store.internal_kv_get(b"CLUSTER_METADATA", namespace))
        other = json.dumps(known | {"ray_version": "2.1.0"}).encode()
        store.internal_kv_put(b"CLUSTER_METADATA", other, True, namespace)
        assert "Version mismatch" in refusal(tmp_path, cluster.address)
    finally:
        cluster.shutdown()


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    yield cluster.address
    cluster.shutdown()


@pytest.mark.skipif(" " in sys.executable, reason="Ray cannot start workers whose Python path contains a space")
def test_a_cluster_of_two_nodes_at_its_address(tmp_path: Path, two_nodes: str) -> None:
    results = outcomes(tmp_path, *(f"meet-{i}" for i in range(6)), "exit-1", address=two_nodes)
    assert [name for name, outcome in results.items() if outcome.error] == ["exit-1"]
    assert len({outcome.record["pid"] for outcome in results.values() if not outcome.error}) >= 2
