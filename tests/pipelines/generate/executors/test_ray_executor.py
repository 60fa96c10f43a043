"""With real clusters: one of its own on this machine, and one of two nodes that it is only given the address of."""

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from driveforge.datasets.errors import UserError
from driveforge.pipelines.generate.executors import scheduler
from driveforge.pipelines.generate.executors.attempts import AttemptLog
from driveforge.pipelines.generate.executors.execution import run_units
from driveforge.pipelines.generate.executors.interface import UnitOutcome
from driveforge.pipelines.generate.executors.settings import ExecutorSettings
from driveforge.pipelines.generate.units import Unit
from tests.pipelines.workers import BrokenWorker, DyingWorker, EchoWorker

ROOT = Path(__file__).resolve().parents[4]


def settings(address: str | None = None) -> ExecutorSettings:
    return ExecutorSettings(
        name="ray", workers=2, address=address, max_attempts=2, timeout_factor=10.0, first_timeout=300.0
    )


def outcomes(log: Path, *ids: str, address: str | None = None) -> dict[str, UnitOutcome]:
    units = [Unit(id=name, requests=()) for name in ids]
    made = list(run_units(units, partial(EchoWorker, log), settings(address), AttemptLog(log)))
    assert len(made) == len(ids)
    return {outcome.unit: outcome for outcome in made}


def test_poison_is_given_up_the_killed_is_retried_and_all_else_is_made_once(tmp_path: Path) -> None:
    good = [f"ok-{i}" for i in range(6)]
    results = outcomes(tmp_path, "ok-0", "exit-1", "raise-1", "segfault-1", "kill-once-1", "threads-1", *good[1:])
    assert {name for name, outcome in results.items() if outcome.error} == {"exit-1", "raise-1", "segfault-1"}
    assert "poison in raise-1" in results["raise-1"].error
    assert "died" in results["exit-1"].error
    assert results["kill-once-1"].attempts == 2
    for name in good:  # units that waited behind a death are not charged for it, nor made twice
        assert results[name].attempts == 1
        assert (tmp_path / name).read_text() == "x"
    assert (tmp_path / "exit-1").read_text() == (tmp_path / "raise-1").read_text() == "xx"
    assert set(results["threads-1"].record["threads"].values()) == {1}
    assert os.getpid() not in {results[name].record["pid"] for name in good}


def test_what_hangs_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "MIN_TIMEOUT", 3.0)
    results = outcomes(tmp_path, "ok-1", "ok-2", "hang-1", "ok-3")
    assert [name for name, outcome in results.items() if outcome.error] == ["hang-1"]
    assert results["hang-1"].attempts == 2 and "stopped after" in results["hang-1"].error


def test_a_full_disk_ends_the_run_and_sets_no_unit_aside(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^/cache/full-1 cannot be written \(No space left on device\)"):
        outcomes(tmp_path, "ok-1", "full-1", "ok-2")


def test_workers_that_cannot_start_end_the_run_with_their_reason(tmp_path: Path) -> None:
    unit = Unit(id="ok-1", requests=())
    with pytest.raises(UserError, match="no weights here"):
        list(run_units([unit], BrokenWorker, settings(), AttemptLog(tmp_path)))
    with pytest.raises(UserError, match="die while they start"):
        list(run_units([unit], DyingWorker, settings(), AttemptLog(tmp_path)))


def refusal(log: Path, address: str) -> str:
    """What is said of a cluster that cannot be used, within half a minute."""
    began = time.monotonic()
    with pytest.raises(UserError) as told:
        outcomes(log, "ok-1", address=address)
    assert time.monotonic() - began < 30
    assert "\n" not in str(told.value) and address in str(told.value)
    return str(told.value)


def test_an_address_where_no_ray_answers_is_told_within_half_a_minute(tmp_path: Path) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        assert "nobody listens there" in refusal(tmp_path, address)
        mute.listen()
        assert "does not answer as a Ray cluster" in refusal(tmp_path, address)
    assert "is no HOST:PORT" in refusal(tmp_path, "127.0.0.1:port")
    assert "nobody listens there" in refusal(tmp_path, "no-such-host.invalid:6379")


def test_a_cluster_without_cpus_or_of_another_ray_is_told(tmp_path: Path) -> None:
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


@pytest.mark.skipif(
    " " in sys.executable, reason="nodes that Ray starts itself take no interpreter in a path with a space"
)
def test_a_cluster_of_two_nodes_at_its_address(tmp_path: Path, two_nodes: str) -> None:
    results = outcomes(tmp_path, *(f"meet-{i}" for i in range(6)), "exit-1", address=two_nodes)
    assert [name for name, outcome in results.items() if outcome.error] == ["exit-1"]
    assert len({outcome.record["pid"] for outcome in results.values() if not outcome.error}) >= 2
