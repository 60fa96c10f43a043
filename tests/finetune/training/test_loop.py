"""A run that diverges keeps its last good checkpoint, and a checkpoint belongs to one run."""

from pathlib import Path

import pytest
import torch

from driveforge.datasets.errors import UserError
from driveforge.finetune.training.checkpoints import find_newest_checkpoint
from tests.finetune.small_run import run

STEPS = 14


def test_a_diverged_loss_is_an_error_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"loss became nan at optimizer step 7.*learning rate \(now 0.001\)"):
        run(tmp_path / "run", STEPS, nan_at=14)
    newest = find_newest_checkpoint(tmp_path / "run")
    assert newest is not None
    kept = torch.load(newest, weights_only=True)
    assert kept["global_step"] == 6
    assert all(torch.isfinite(value).all() for value in kept["state_dict"].values())


def test_a_checkpoint_of_other_settings_is_rejected_and_a_run_can_be_extended(tmp_path: Path) -> None:
    run(tmp_path / "run", 3)
    with pytest.raises(UserError, match=r"learning_rate was 0.001, is 0.01"):
        run(tmp_path / "run", 6, learning_rate=0.01)
    assert run(tmp_path / "run", 6).global_step == 6


def test_training_changes_the_trainable_weights_only(tmp_path: Path) -> None:
    before = run(tmp_path / "a", 1, learning_rate=0.0).model.state_dict()
    full = run(tmp_path / "b", 4).model.state_dict()
    assert not torch.equal(before["transformer.proj_out.weight"], full["transformer.proj_out.weight"])
    lora = run(tmp_path / "c", 4, adapter="lora").model.state_dict()
    assert torch.equal(before["transformer.proj_out.weight"], lora["transformer.proj_out.weight"])
    merged = "transformer.blocks.0.attn1.to_q.weight"
    assert not torch.equal(before[merged], lora[merged])
    assert before.keys() == lora.keys(), "the adapter is merged"
