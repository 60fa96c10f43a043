"""``driveforge replay add``, killed at random times, leaves the buffer as it was before or as it is afterwards."""

import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from driveforge.replay.audit import audit
from driveforge.replay.persistent import open_persistent
from tests.faults.killing import KillPoint, kill_counts, kill_repeatedly, killable_command, run_to_end, snapshot
from tests.faults.outcomes import Record
from tests.faults.small_models import FRAMING, coarse_frames, make_base, make_buffer, make_video

KILL_POINTS = (
    KillPoint(pattern="buffer.json", within=1.0),
    KillPoint(pattern="*segment-*", within=0.05),
    KillPoint(pattern="*manifest.json*", within=0.02),
)


@pytest.mark.parametrize("kills", kill_counts(2))
def test_replay_add_is_killed_and_ends_with_the_same_buffer(
    tmp_path: Path, kills: int, record_property: Record
) -> None:
    buffer, old = tmp_path / "buffer", tmp_path / "old"
    base = make_base(tmp_path / "base")
    words = [*FRAMING, f"model.checkpoint={base}", f"replay.buffer={buffer}"]
    there, new = (make_video(tmp_path / name, coarse_frames(seed, 5)) for seed, name in enumerate(("there", "new")))
    make_buffer(buffer, base, there)
    shutil.copytree(buffer, old)
    before = clips(buffer)
    with killable_command("replay add", buffer, "replay", "add", new, *words) as command:
        kill_points = (KillPoint(within=run_to_end(command)), *KILL_POINTS)
        after, left = clips(buffer), names(buffer)
        assert len(after) == 2 * len(before) == 2
        start_anew(buffer, old)
        for _ in kill_repeatedly(command, kill_points, kills, random.Random(kills), record_property):
            assert clips(buffer) in (before, after)
            assert audit(buffer).problems == ()
            if clips(buffer) == after:
                start_anew(buffer, old)
        run_to_end(command)
    assert clips(buffer) == after and audit(buffer).problems == ()
    assert names(buffer) == left


def start_anew(buffer: Path, old: Path) -> None:
    shutil.rmtree(buffer)
    shutil.copytree(old, buffer)


def clips(root: Path) -> list[tuple[Any, ...]]:
    """Everything stored of each clip, including tensor bytes, except the time at which it was added."""
    buffer = open_persistent(root)
    samples = [buffer.sample(domain, n) for domain, size in buffer.sizes.items() for n in range(size)]
    return [
        (
            {**sample.entry, "origin": {**sample.origin, "added": ""}},
            {name: (tensor.shape, tensor.numpy().tobytes()) for name, tensor in sample.tensors.items()},
        )
        for sample in samples
    ]


def names(root: Path) -> list[str]:
    return list(snapshot(root))
