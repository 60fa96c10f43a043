"""The check of a fine-tune's memory before anything is spent."""

from pathlib import Path

from driveforge.datasets.errors import UserError
from driveforge.finetune.training.settings import FineTuneSettings
from driveforge.pipelines.train.estimate.devices import GIB
from driveforge.pipelines.train.estimate.fake_model import ClipSize
from driveforge.pipelines.train.estimate.plan import estimate_training
from driveforge.pipelines.train.estimate.step import DeviceKind
from driveforge.pipelines.train.estimate.switches import (
    Changes,
    apply_changes,
    find_fitting,
    format_changes,
    make_setup,
)

# Estimates were within a few per cent of measured memory; only what clearly does not fit is refused.
_MARGIN = 1.15


def require_memory(
    checkpoint: Path, size: ClipSize, settings: FineTuneSettings, *, device: DeviceKind, gpus: int, memory: float
) -> None:
    """Raise UserError if a fine-tune clearly needs more than the ``memory`` in bytes of each of ``gpus`` devices."""
    setup, limit = make_setup(settings, device, gpus), memory * _MARGIN

    def needed(changes: Changes) -> float:
        return estimate_training(checkpoint, size, apply_changes(setup, changes)).memory.total

    total = needed({})
    if total <= limit:
        return
    changes = find_fitting(setup, needed, memory)
    advice = "use smaller clips or more GPUs" if changes is None else f"set {format_changes(changes)}"
    raise UserError(
        f"the fine-tune needs about {total / GIB:.1f} GiB of each device, which has {memory / GIB:.1f} GiB: {advice}; "
        "`driveforge estimate` shows the parts"
    )
