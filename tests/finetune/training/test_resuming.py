"""With every strategy and schedule, an interrupted and resumed run is bit-identical to an uninterrupted one."""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from driveforge.finetune.strategies.registry import STRATEGIES
from driveforge.finetune.training.checkpoints import find_newest_checkpoint
from driveforge.finetune.training.fine_tune import FineTuneResult
from tests.finetune.small_fine_tune import Settings, bit_sensitive_metric, prepare_root, run, run_slowly, settings_for

RUNS = {name: settings_for(name) for name in STRATEGIES} | {
    "linear": settings_for("replay", schedule="linear", share=0.1, final_share=0.9),
    "adaptive": settings_for("replay", schedule="adaptive"),
    "context noise": settings_for("replay", context_noise=0.333),
}
ADAPTED = {f"{name}, lora": settings_for(name, adapter="lora") for name in ("replay+distill", "der", "l2sp", "ewc")}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("fine tunes")
    prepare_root(root)
    yield root
    # A process has one fork server: the tests of the local executor need one with other modules and one thread.
    forkserver._forkserver._stop()  # type: ignore[attr-defined]


class Stopped(Exception):
    pass


class Stop(Callback):
    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == 5:
            raise Stopped


def require_same(resumed: FineTuneResult, whole: FineTuneResult) -> None:
    assert resumed.sample_counts == whole.sample_counts and resumed.decisions == whole.decisions
    found, expected = resumed.model.state_dict(), whole.model.state_dict()
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []


@pytest.mark.parametrize("name", [*RUNS, "replay+distill, lora", "ewc, lora"])
def test_stopped_and_resumed_is_bit_identical(root: Path, name: str) -> None:
    settings = (RUNS | ADAPTED)[name]
    whole = run(root, f"{name} whole", settings, forgetting_metric=bit_sensitive_metric)
    with pytest.raises(Stopped):
        run(root, f"{name} stopped", settings, Stop(), forgetting_metric=bit_sensitive_metric)
    assert find_newest_checkpoint(root / f"{name} stopped") == root / f"{name} stopped" / "step=4.ckpt"
    require_same(run(root, f"{name} stopped", settings, forgetting_metric=bit_sensitive_metric), whole)


def test_loader_workers_change_no_weight(root: Path) -> None:
    single = run(root, "no workers", settings_for("replay", steps=3))
    require_same(run(root, "two workers", settings_for("replay", steps=3, num_workers=2)), single)


@pytest.mark.slow
@pytest.mark.parametrize("adapter", ["full", "lora"])
def test_a_compiled_run_resumes_to_the_same_weights(root: Path, adapter: str) -> None:
    settings = settings_for("replay", compile=True, adapter=adapter)
    whole = run(root, f"{adapter} compiled whole", settings)
    with pytest.raises(Stopped):
        run(root, f"{adapter} compiled stopped", settings, Stop())
    resumed = run(root, f"{adapter} compiled stopped", settings)
    require_same(resumed, whole)
    eager = run(root, f"{adapter} eager", settings_for("replay", adapter=adapter)).model.state_dict()
    assert eager.keys() == whole.model.state_dict().keys(), "compilation renames no weight"


def kill_midway(root: Path, name: str, settings: Settings) -> None:
    """Start a process, and kill it some batches after its first checkpoint."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([run_slowly.__module__])
    process = context.Process(target=run_slowly, args=(root, name, settings))
    process.start()
    deadline = time.monotonic() + 200
    while find_newest_checkpoint(root / name) is None and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.1)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL, "it must be killed before it finishes"


@pytest.mark.parametrize("name", [*RUNS, *ADAPTED])
def test_killed_and_resumed_is_bit_identical(root: Path, name: str) -> None:
    settings = (RUNS | ADAPTED)[name]
    kill_midway(root, f"{name} killed", settings)
    whole = run(root, f"{name} uninterrupted", settings, forgetting_metric=bit_sensitive_metric)
    require_same(run(root, f"{name} killed", settings, forgetting_metric=bit_sensitive_metric), whole)


def test_resuming_does_not_rewrite_the_checkpoint(root: Path) -> None:
    """A step has two batches here; a checkpoint between them would be in the middle of a step."""
    settings = settings_for("replay", steps=5)
    whole = run(root, "often", settings)
    newest = find_newest_checkpoint(root / "often")
    assert newest is not None and newest.name == "step=4.ckpt"
    before = newest.read_bytes()
    for _ in range(3):
        require_same(run(root, "often", settings), whole)
        assert newest.read_bytes() == before
