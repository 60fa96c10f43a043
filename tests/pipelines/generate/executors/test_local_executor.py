"""The local executor with real processes: units that raise, exit, crash or hang, and killed runs."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from driveforge.datasets.errors import UserError
from driveforge.pipelines.generate.executors import scheduler
from driveforge.pipelines.generate.executors.attempts import AttemptLog, Attempts
from driveforge.pipelines.generate.executors.execution import run_units
from driveforge.pipelines.generate.executors.interface import UnitOutcome
from driveforge.pipelines.generate.executors.settings import ExecutorSettings
from driveforge.pipelines.generate.units import WorkUnit
from tests.pipelines.workers import BrokenWorker, DyingWorker, EchoWorker

ROOT = Path(__file__).resolve().parents[4]
SETTINGS = ExecutorSettings(
    name="local",
    workers=1,
    address=None,
    max_attempts=3,
    timeout_factor=10.0,
    first_timeout=60.0,
    failure_budget=0.0,
    gpus_per_worker=None,
)


def units(*ids: str) -> list[WorkUnit]:
    return [WorkUnit(id=name, requests=()) for name in ids]


def outcomes(log: Path, *ids: str, settings: ExecutorSettings = SETTINGS) -> dict[str, UnitOutcome]:
    made = list(run_units(units(*ids), partial(EchoWorker, log), settings, AttemptLog(log)))
    assert len(made) == len(ids)
    return {outcome.unit: outcome for outcome in made}


def test_units_are_made_in_order_by_one_worker(tmp_path: Path) -> None:
    results = outcomes(tmp_path, "ok-1", "ok-2", "ok-3")
    assert [(o.unit, o.attempts, o.error) for o in results.values()] == [
        ("ok-1", 1, ""),
        ("ok-2", 1, ""),
        ("ok-3", 1, ""),
    ]
    assert (tmp_path / "workers").read_text() == "x"
    assert os.getpid() not in {o.record["pid"] for o in results.values()}


def test_every_library_of_a_worker_uses_one_thread(tmp_path: Path) -> None:
    threads = outcomes(tmp_path, "threads-1")["threads-1"].record["threads"]
    assert set(threads.values()) == {1} and len(threads) >= 5


def test_two_workers_run_in_parallel(tmp_path: Path) -> None:
    results = outcomes(tmp_path, *(f"meet-{i}" for i in range(4)), settings=replace(SETTINGS, workers=2))
    assert len({o.record["pid"] for o in results.values()}) == 2


def test_units_that_raise_exit_or_crash_fail_after_three_attempts_and_the_others_succeed(tmp_path: Path) -> None:
    results = outcomes(tmp_path, "raise-1", "exit-1", "segfault-1", "kill-once-1", "ok-1", "ok-2")
    assert {name: (o.attempts, o.error != "") for name, o in results.items()} == {
        "raise-1": (3, True),
        "exit-1": (3, True),
        "segfault-1": (3, True),
        "kill-once-1": (2, False),
        "ok-1": (1, False),
        "ok-2": (1, False),
    }
    assert "poison in raise-1" in results["raise-1"].error
    assert "exit status 139" in results["exit-1"].error
    assert "SIGSEGV" in results["segfault-1"].error
    assert all((tmp_path / name).read_text() == "xxx" for name in ("raise-1", "exit-1", "segfault-1"))
    assert not list((tmp_path / "_attempts").iterdir())


def test_a_hanging_unit_is_stopped_at_ten_times_the_median_with_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(scheduler, "MIN_TIMEOUT", 2.0)
    monkeypatch.setattr(scheduler, "SILENCE_SECONDS", 1.0)
    start = time.monotonic()
    results = outcomes(tmp_path, "ok-1", "hang-1", "ok-2", settings=replace(SETTINGS, max_attempts=2))
    assert (results["hang-1"].attempts, results["ok-2"].error) == (2, "")
    assert "stopped after" in results["hang-1"].error
    assert time.monotonic() - start < 45
    assert "running: hang-1" in capsys.readouterr().err


def test_the_first_unit_may_hang_too(tmp_path: Path) -> None:
    settings = replace(SETTINGS, max_attempts=1, first_timeout=10.0)
    results = outcomes(tmp_path, "hang-1", "ok-1", settings=settings)
    assert results["hang-1"].error and not results["ok-1"].error


def test_a_full_disk_ends_the_run_and_quarantines_no_unit(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^/cache/full-1 cannot be written \(No space left on device\)"):
        outcomes(tmp_path, "ok-1", "full-1", "ok-2")


def test_no_units_need_no_worker(tmp_path: Path) -> None:
    assert outcomes(tmp_path) == {}
    assert not (tmp_path / "workers").exists()


def test_workers_that_cannot_start_end_the_run_with_the_reason(tmp_path: Path) -> None:
    log = AttemptLog(tmp_path)
    with pytest.raises(UserError, match="a worker cannot start: ValueError: no weights here"):
        list(run_units(units("ok-1"), BrokenWorker, SETTINGS, log))
    with pytest.raises(UserError, match=r"workers terminated 3 times while starting: .*exit status 1"):
        list(run_units(units("ok-1"), DyingWorker, SETTINGS, log))


def test_an_attempt_is_recorded_before_it_starts_and_no_process_outlives_the_run(tmp_path: Path) -> None:
    code = (
        "from tests.pipelines.generate.executors.test_local_executor import outcomes; "
        "from pathlib import Path;"
        f"outcomes(Path({str(tmp_path)!r}), 'hang-1', 'ok-1')"
    )
    run = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, start_new_session=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "hang-1").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert AttemptLog(tmp_path).read("hang-1") == Attempts(unit="hang-1", num_started=1)
    assert len(processes_of(run.pid)) >= 3, "the run, the fork server and a worker"
    run.kill()
    run.wait()
    deadline = time.monotonic() + 20
    while (left := processes_of(run.pid)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left


def processes_of(session: int) -> list[str]:
    """The command lines of the processes of a session."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] != "Z":
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue  # the process has ended
    return found


def test_a_unit_that_was_interrupted_often_is_made_last_without_a_failure(tmp_path: Path) -> None:
    log = AttemptLog(tmp_path)
    for _ in range(5):
        log.record_start("ok-1")
    results = outcomes(tmp_path, "ok-1", "ok-2", "ok-3")
    assert list(results) == ["ok-2", "ok-3", "ok-1"]
    assert results["ok-1"].error == "" and results["ok-1"].attempts == 1


def test_failures_of_earlier_runs_count(tmp_path: Path) -> None:
    log = AttemptLog(tmp_path)
    for _ in range(2):
        log.record_start("raise-1")
        log.record_failure("raise-1")
    assert outcomes(tmp_path, "raise-1")["raise-1"].attempts == 3
    assert (tmp_path / "raise-1").read_text() == "x"
