"""Training that is out of time ends with a checkpoint, and resumes with the same weights."""

import time
from pathlib import Path

import pytest
import torch

from driveforge.finetune.training.checkpoints import list_checkpoints
from driveforge.finetune.training.time_limit import StopInTime, TimeIsUp
from tests.finetune.small_run import run


def test_training_stops_after_a_step_and_resumes_exactly(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", 4)
    root = tmp_path / "stopped"
    for step in (1, 2):
        with pytest.raises(TimeIsUp, match=f"after {step} of 4 steps"):
            run(root, 4, callbacks=[StopInTime(root, time.monotonic())])
        assert list_checkpoints(root)[0] == (step, root / f"step={step}.ckpt")
    resumed = run(root, 4, callbacks=[StopInTime(root, time.monotonic() + 3600)])
    for name, weights in whole.model.state_dict().items():
        assert torch.equal(weights, resumed.model.state_dict()[name]), name
