"""SIGKILL at any moment, and the same command again: the same bytes, nothing lost, nothing left behind."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.export import export
from pipelines.gate import gate
from pipelines.verify import verify
from tests.faults.small_run import config_of, contents
from tests.pipelines.generating import generate_small

ROOT = Path(__file__).resolve().parents[2]
MANY = [pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])]


def kept(run_dir: Path) -> dict[str, bytes]:
    """What counts of a run: everything but scratch, which the next run may leave to be collected."""
    return {name: content for name, content in contents(run_dir).items() if not Path(name).name.startswith(".")}


def kill_at_random(command: list[str], rng: random.Random, longest: float) -> bool:
    """Start a process group, kill all of it between its first word and ``longest`` seconds later; whether in time."""
    run = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
    assert run.stdout is not None and run.stdout.readline() == b"begun\n"
    time.sleep(rng.uniform(0, longest))
    killed = run.poll() is None
    os.killpg(run.pid, signal.SIGKILL) if killed else None
    run.stdout.close()
    run.wait()
    return killed


def driver(*arguments: object) -> list[str]:
    return [sys.executable, "-m", *map(str, arguments)]


@pytest.mark.parametrize("kills", [2, *MANY])
@pytest.mark.parametrize("executor", ["local", pytest.param("ray", marks=pytest.mark.slow)])
@pytest.mark.timeout(900)
def test_generate_is_killed_and_ends_with_the_same_clips(
    finished_run: Path, tmp_path: Path, executor: str, kills: int
) -> None:
    rng, root = random.Random(kills), tmp_path / "run" / "candidates"
    whole = {n: c for n, c in kept(finished_run).items() if n.startswith("candidates/")}
    longest = 4.0 if executor == "local" else 15.0
    for _ in range(kills):
        kill_at_random(driver("tests.pipelines.generating", root, executor), rng, longest)
        made = {name: content for name, content in kept(tmp_path / "run").items() if "_attempts" not in name}
        assert made.items() <= whole.items()
    generate_small(root)
    assert kept(tmp_path / "run") == whole


@pytest.mark.parametrize("kills", [3, *MANY])
@pytest.mark.parametrize("stage", [gate, export], ids=["gate", "export"])
@pytest.mark.timeout(900)
def test_gate_and_export_are_killed_and_end_with_the_same_files(
    run_dir: Path, finished_run: Path, stage: Callable[..., object], kills: int
) -> None:
    rng, whole = random.Random(kills), kept(finished_run)
    for turn in range(kills):
        if stage is export and turn % 2:  # from nothing, and over an export that is there
            for path in (run_dir / "shards").iterdir():
                path.unlink()
        kill_at_random(driver("tests.faults.staging", stage.__name__, run_dir), rng, 0.3)
        if (run_dir / "shards" / "index.json").exists():
            assert verify(run_dir / "shards").ok, "what was exported before stays whole"
    stage(config_of(run_dir))
    assert kept(run_dir) == whole
