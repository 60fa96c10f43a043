"""A run that was killed ends with the very bits of one that was not; a run that diverges keeps its last good state."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from datasets.errors import UserError
from finetune.training import newest_checkpoint
from finetune.world_model import model_digest
from tests.finetune.small_run import run

REPOSITORY = Path(__file__).parents[2]
STEPS = 14


def command(root: Path, adapter: str, pause: float = 0.0) -> list[str]:
    program = [sys.executable, "-m", "tests.finetune.small_run"]
    return [*program, str(root), str(STEPS), "--adapter", adapter, "--pause", str(pause)]


@pytest.mark.parametrize("adapter", ["full", "lora"])
def test_killed_and_resumed_is_bit_identical(tmp_path: Path, adapter: str) -> None:
    whole, broken = tmp_path / "a" / "whole", tmp_path / "b" / "broken"
    subprocess.run(command(whole, adapter), cwd=REPOSITORY, check=True, capture_output=True)
    process = subprocess.Popen(
        command(broken, adapter, pause=0.05), cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while newest_checkpoint(broken) is None and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.1)  # some steps past the checkpoint, in the middle of the epoch
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was to be killed before it was done"
    assert not (broken / "model").exists()
    subprocess.run(command(broken, adapter), cwd=REPOSITORY, check=True, capture_output=True)
    assert model_digest(broken / "model") == model_digest(whole / "model")


def test_a_diverged_loss_stops_in_words_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"loss became nan at optimiser step 7.*learning rate \(now 0.001\)"):
        run(tmp_path / "run", STEPS, spoil_at=14)
    newest = newest_checkpoint(tmp_path / "run")
    assert newest is not None
    kept = torch.load(newest, weights_only=True)
    assert kept["global_step"] == 6
    assert all(torch.isfinite(value).all() for value in kept["state_dict"].values())


def test_a_checkpoint_of_other_settings_is_refused_and_a_longer_run_goes_on(tmp_path: Path) -> None:
    run(tmp_path / "run", 3)
    with pytest.raises(UserError, match=r"learning_rate was 0.001, is 0.01"):
        run(tmp_path / "run", 6, learning_rate=0.01)
    assert run(tmp_path / "run", 6).global_step == 6


def test_training_moves_what_it_should(tmp_path: Path) -> None:
    before = run(tmp_path / "a", 1, learning_rate=0.0).model.state_dict()
    full = run(tmp_path / "b", 4).model.state_dict()
    assert not torch.equal(before["transformer.proj_out.weight"], full["transformer.proj_out.weight"])
    lora = run(tmp_path / "c", 4, adapter="lora").model.state_dict()
    assert torch.equal(before["transformer.proj_out.weight"], lora["transformer.proj_out.weight"])
    merged = "transformer.blocks.0.attn1.to_q.weight"
    assert not torch.equal(before[merged], lora[merged])
    assert before.keys() == lora.keys(), "the adapter is folded in"
