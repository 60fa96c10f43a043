"""`driveforge pretrain` under torchrun: two ranks make the inputs once, train together and write one base."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from driveforge.finetune.training.checkpoints import find_newest_checkpoint
from driveforge.finetune.world_model.families.registry import load_world_model
from tests.pipelines.train.test_pretrain import SMALL, pretrain

REPOSITORY = Path(__file__).parents[3]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_ranks_write_the_base_of_one_process(tmp_path: Path, parallel: str) -> None:
    exact = ["pretrain.precision=32", "pretrain.gradient_checkpointing=true"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    settings = [*SMALL, *exact, "pretrain.steps=3", f"pretrain.out={tmp_path / 'two'}", f"pretrain.parallel={parallel}"]
    done = subprocess.run(
        [*launcher, "-m", "driveforge.pipelines.cli", "pretrain", *settings],
        cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("base checkpoint") == 1
    newest = find_newest_checkpoint(tmp_path / "two" / "checkpoints")
    assert newest is not None and newest.is_dir() == (parallel == "fsdp")
    found = load_world_model(tmp_path / "two" / "model").state_dict()
    for name, value in load_world_model(pretrain(tmp_path / "one", 3, *exact)).state_dict().items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-3, msg=name)
