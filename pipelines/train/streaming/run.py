"""The loop of training by the clock: steps, checks of the loss, progress lines and checkpoints."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from driveforge.pipelines.console import print_message
from driveforge.pipelines.train.streaming.clock import learning_rate_factor, timed_steps
from driveforge.pipelines.train.streaming.learner import Learner
from driveforge.pipelines.train.streaming.progress import RunProgress, load_progress, save_progress

# Seconds between reads of the loss from the device, which waits for it.
CHECK_EVERY_S = 10.0


class Task(Protocol):
    """What a run trains. ``learners`` and ``buffers`` are saved in checkpoints."""

    learners: Mapping[str, Learner]
    buffers: Mapping[str, Tensor]
    samples_per_step: int

    @property
    def next_world(self) -> int: ...

    def step(self, step: int, factor: float) -> dict[str, Tensor]:
        """One optimizer step at ``factor`` of the peak learning rate; returns scalars on the device to report."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A run of ``minutes`` with checkpoints in ``folder``; ``config`` has the values that the weights depend on."""

    name: str
    minutes: float
    warmup_steps: int
    folder: Path
    config: Mapping[str, Any]
    checkpoint_minutes: float

    def resume(self, learners: Mapping[str, Learner], buffers: Mapping[str, Tensor]) -> RunProgress:
        return load_progress(self.folder, self.config, learners, buffers)

    def is_finished(self, progress: RunProgress) -> bool:
        return progress.elapsed_s >= 60 * self.minutes


def run_by_clock(run: Run, task: Task, progress: RunProgress) -> None:
    """Train ``task`` from ``progress`` to the end of the time; its learners end with their last weights."""
    means = _Means()
    checked = saved = time.monotonic()
    for elapsed, part in timed_steps(60 * run.minutes, progress.elapsed_s):
        means.add(task.step(progress.step, learning_rate_factor(part, progress.step, run.warmup_steps)))
        progress.step += 1
        progress.elapsed_s = elapsed
        now = time.monotonic()
        is_save_due = now - saved >= 60 * run.checkpoint_minutes
        if now - checked >= CHECK_EVERY_S or is_save_due:
            _check(run, task, progress, means, now - checked)
            means, checked = _Means(), now
        if is_save_due:
            progress.next_world = task.next_world
            save_progress(run.folder, run.config, progress, task.learners, task.buffers)
            saved = now
    if means.count:
        _check(run, task, progress, means, time.monotonic() - checked)
    progress.elapsed_s = 60 * run.minutes
    save_progress(run.folder, run.config, progress, task.learners, task.buffers)


class _Means:
    """Means of reported scalars, summed on the device."""

    def __init__(self) -> None:
        self.count = 0
        self._sums: dict[str, tuple[Tensor, int]] = {}

    def add(self, values: Mapping[str, Tensor]) -> None:
        self.count += 1
        for name, value in values.items():
            total, count = self._sums.get(name, (torch.zeros_like(value), 0))
            self._sums[name] = (total + value.detach(), count + 1)

    def read(self) -> dict[str, float]:
        return {name: float(total) / count for name, (total, count) in self._sums.items()}


def _check(run: Run, task: Task, progress: RunProgress, means: _Means, seconds: float) -> None:
    """Report the means since the last check; if one is not finite, go back to the last good average."""
    found = means.read()
    rate = means.count * task.samples_per_step / seconds
    if all(map(math.isfinite, found.values())):
        for learner in task.learners.values():
            learner.keep_good()
        progress.curve.append(
            {"step": progress.step, "minutes": progress.elapsed_s / 60, "samples_per_s": rate} | found
        )
        values = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in found.items())
        print_message(
            f"{run.name}, {progress.elapsed_s / 60:.1f} of {run.minutes:g} min: step {progress.step}, {values}, "
            f"{rate:.1f} samples/s"
        )
        return
    for learner in task.learners.values():
        learner.recover()
    rates = ", ".join(f"{name} {learner.rate:g}" for name, learner in task.learners.items())
    print_message(
        f"{run.name}: the loss was not finite before step {progress.step}; went back to the last good average, "
        f"and halved the learning rate ({rates})"
    )
