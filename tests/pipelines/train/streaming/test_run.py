"""The loop by the clock: recovery from losses that are not finite, checkpoints, and resuming."""

import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from driveforge.datasets.errors import UserError
from driveforge.finetune.training.checkpoints import list_checkpoints
from driveforge.pipelines.train.streaming.learner import Learner
from driveforge.pipelines.train.streaming.progress import RunProgress
from driveforge.pipelines.train.streaming.run import Run, run_by_clock


class Regression:
    """Fits a constant; the loss of the steps ``poisoned`` is not finite."""

    samples_per_step = 2
    next_world = 12

    def __init__(self, poisoned: range = range(0)) -> None:
        torch.manual_seed(0)
        self._model = nn.Linear(2, 1)
        self._poisoned = poisoned
        self.learners: Mapping[str, Learner] = {
            "model": Learner(
                self._model.parameters(), learning_rate=0.05, weight_decay=0.0, ema_decay=0.9, max_grad_norm=1.0
            )
        }
        self.buffers: Mapping[str, Tensor] = {"scale": torch.ones(1)}

    def step(self, step: int, factor: float) -> dict[str, Tensor]:
        time.sleep(0.01)
        loss = (self._model(torch.ones(1, 2)) - 3).square().mean()
        if step in self._poisoned:
            loss = loss * float("nan")
        self.learners["model"].step(loss, factor)
        return {"loss": loss.detach()}

    @property
    def output(self) -> float:
        return float(self._model(torch.ones(1, 2)).detach())


def make_run(folder: Path, seconds: float, **config: int) -> Run:
    return Run(
        name="Fitting", minutes=seconds / 60, warmup_steps=5, folder=folder, config=config, checkpoint_minutes=0.1 / 60
    )


def test_a_run_recovers_from_a_loss_that_is_not_finite(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task, progress = Regression(poisoned=range(20, 21)), RunProgress()
    run_by_clock(make_run(tmp_path, 2.0), task, progress)
    assert "the loss was not finite before step" in capsys.readouterr().err
    assert task.learners["model"].rate == 0.025
    assert task.output == pytest.approx(3, abs=0.2)
    assert all(row["loss"] == row["loss"] for row in progress.curve)
    assert progress.curve[-1]["loss"] < progress.curve[0]["loss"]


def test_a_run_resumes_its_weights_time_and_curve(tmp_path: Path) -> None:
    task, progress = Regression(), RunProgress()
    run_by_clock(make_run(tmp_path, 0.5, seed=1), task, progress)
    assert len(list_checkpoints(tmp_path)) == 2, "older ones are deleted"
    resumed = Regression()
    task.buffers["scale"].fill_(5)
    found = make_run(tmp_path, 0.5, seed=1).resume(resumed.learners, resumed.buffers)
    assert resumed.output == task.output
    assert (found.step, found.next_world, found.curve) == (progress.step, 12, progress.curve)
    assert make_run(tmp_path, 0.5, seed=1).is_finished(found)
    longer = make_run(tmp_path, 0.8, seed=1)
    assert not longer.is_finished(found), "a finished run may be given more time"
    run_by_clock(longer, resumed, found)
    assert found.elapsed_s == pytest.approx(0.8) and found.step > progress.step


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    task = Regression()
    run_by_clock(make_run(tmp_path, 0.05, seed=1), task, RunProgress())
    with pytest.raises(UserError, match="seed was 1, is 2"):
        make_run(tmp_path, 0.05, seed=2).resume(task.learners, task.buffers)
