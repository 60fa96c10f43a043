"""How far a run by the clock has come, and its checkpoints, from which a killed run continues."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from driveforge.datasets.files.atomic import remove_partial_files
from driveforge.finetune.training.checkpoints import (
    AtomicCheckpointIO,
    find_newest_checkpoint,
    require_same_config,
)
from driveforge.pipelines.train.streaming.learner import Learner


@dataclass(kw_only=True, slots=True)
class RunProgress:
    """``next_world`` is the first of the ``ClipStream`` that was not rendered; ``curve`` has mean losses over time."""

    step: int = 0
    elapsed_s: float = 0.0
    next_world: int = 0
    curve: list[dict[str, float]] = field(default_factory=list)


def save_progress(
    folder: Path,
    config: Mapping[str, Any],
    progress: RunProgress,
    learners: Mapping[str, Learner],
    buffers: Mapping[str, Tensor],
) -> None:
    """Write a checkpoint ``step=N.ckpt``; the last two are kept."""
    checkpoint = {
        "run_config": dict(config),
        "progress": {name: getattr(progress, name) for name in RunProgress.__dataclass_fields__},
        "learners": {name: learner.state_dict() for name, learner in learners.items()},
        "buffers": dict(buffers),
    }
    AtomicCheckpointIO().save_checkpoint(checkpoint, folder / f"step={progress.step}.ckpt")


@torch.no_grad()
def load_progress(
    folder: Path, config: Mapping[str, Any], learners: Mapping[str, Learner], buffers: Mapping[str, Tensor]
) -> RunProgress:
    """Load the newest intact checkpoint of ``folder`` in place; without one, nothing has been done.

    Raises UserError if the checkpoint belongs to another run.
    """
    remove_partial_files(folder)
    newest = find_newest_checkpoint(folder)
    if newest is None:
        return RunProgress()
    require_same_config(newest, config)
    checkpoint = AtomicCheckpointIO().load_checkpoint(newest)
    for name, learner in learners.items():
        learner.load_state_dict(checkpoint["learners"][name])
    for name, buffer in buffers.items():
        buffer.copy_(checkpoint["buffers"][name])
    return RunProgress(**checkpoint["progress"])
