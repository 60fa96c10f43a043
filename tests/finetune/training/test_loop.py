"""A run that diverges keeps its last good checkpoint, and a checkpoint belongs to one run."""

from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from driveforge.datasets.errors import UserError
from driveforge.finetune.training.checkpoints import find_newest_checkpoint
from tests.finetune.small_run import run

STEPS = 14


class CountBlocks(Callback):
    """Counts the starts of forward passes of the blocks."""

    def __init__(self) -> None:
        self.calls = 0

    def on_train_start(self, trainer: Any, module: Any) -> None:
        for block in module.model.transformer.blocks:
            block.register_forward_pre_hook(self._count)

    def _count(self, *_: Any) -> None:
        self.calls += 1


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
    with pytest.raises(UserError, match=r"context_noise was None, is 0.3"):
        run(tmp_path / "run", 6, context_noise=0.3)
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


@pytest.mark.parametrize("adapter", ["full", "lora"])
def test_gradient_checkpointing_repeats_forward_passes_and_changes_no_weight(
    tmp_path: Path, adapter: Literal["full", "lora"]
) -> None:
    once, twice = CountBlocks(), CountBlocks()
    plain = run(tmp_path / "plain", 4, adapter=adapter, callbacks=[once]).model.state_dict()
    saving = run(tmp_path / "saving", 4, adapter=adapter, callbacks=[twice], gradient_checkpointing=True)
    assert (once.calls, twice.calls) == (8, 16), "two batches per step"
    assert all(torch.equal(value, plain[name]) for name, value in saving.model.state_dict().items())
