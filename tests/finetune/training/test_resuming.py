"""Whatever the strategy and its share, a run that was broken off ends with the bits of one that was not."""

import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from driveforge.finetune.strategies.registry import STRATEGIES
from driveforge.finetune.training.checkpoints import find_newest_checkpoint
from driveforge.finetune.training.fine_tune import FineTuneResult
from driveforge.finetune.training.settings import FineTuneSettings
from tests.finetune.small_fine_tune import fickle_probe, prepare_root, run, run_slowly, settings_for

RUNS = {name: settings_for(name) for name in STRATEGIES} | {
    "linear": settings_for("replay", schedule="linear", share=0.1, final_share=0.9),
    "adaptive": settings_for("replay", schedule="adaptive"),
}
ADAPTED = {f"{name}, lora": settings_for(name, adapter="lora") for name in ("replay+distill", "der", "l2sp", "ewc")}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("fine tunes")
    prepare_root(root)
    return root


class Stopped(Exception):
    pass


class Stop(Callback):
    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == 5:
            raise Stopped


def require_same(broken: FineTuneResult, whole: FineTuneResult) -> None:
    assert broken.sample_counts == whole.sample_counts and broken.decisions == whole.decisions
    found, wanted = broken.model.state_dict(), whole.model.state_dict()
    assert [name for name in wanted if not torch.equal(found[name], wanted[name])] == []


@pytest.mark.parametrize("name", [*RUNS, "replay+distill, lora", "ewc, lora"])
def test_stopped_and_resumed_is_bit_identical(root: Path, name: str) -> None:
    settings = (RUNS | ADAPTED)[name]
    whole = run(root, f"{name} whole", settings, forgetting_metric=fickle_probe)
    with pytest.raises(Stopped):
        run(root, f"{name} stopped", settings, Stop(), forgetting_metric=fickle_probe)
    assert find_newest_checkpoint(root / f"{name} stopped") == root / f"{name} stopped" / "step=4.ckpt"
    require_same(run(root, f"{name} stopped", settings, forgetting_metric=fickle_probe), whole)


def kill_midway(root: Path, name: str, settings: FineTuneSettings) -> None:
    """Start a process, and kill it some batches past its first checkpoint."""
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
    assert process.exitcode == -signal.SIGKILL, "it was to be killed before it was done"


@pytest.mark.parametrize("name", [*RUNS, *ADAPTED])
def test_killed_and_resumed_is_bit_identical(root: Path, name: str) -> None:
    settings = (RUNS | ADAPTED)[name]
    kill_midway(root, f"{name} killed", settings)
    whole = run(root, f"{name} unharmed", settings, forgetting_metric=fickle_probe)
    require_same(run(root, f"{name} killed", settings, forgetting_metric=fickle_probe), whole)


def test_what_a_run_went_on_from_stays_as_it_was(root: Path) -> None:
    """A step here takes two batches: a checkpoint between them would be of neither this step nor the next."""
    settings = settings_for("replay", steps=5)
    whole = run(root, "often", settings)
    newest = find_newest_checkpoint(root / "often")
    assert newest is not None and newest.name == "step=4.ckpt"
    before = newest.read_bytes()
    for _ in range(3):
        require_same(run(root, "often", settings), whole)
        assert newest.read_bytes() == before
