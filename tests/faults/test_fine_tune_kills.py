"""``driveforge finetune``, killed at random times, with TMPDIR on another file system."""

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from driveforge.finetune.training.checkpoints import is_intact, list_checkpoints
from tests.faults.killing import KillPoint, kill_counts, kill_repeatedly, killable_command, run_to_end, snapshot
from tests.faults.outcomes import Record
from tests.faults.small_models import FRAMING, coarse_frames, make_base, make_buffer, make_video

OTHER_DISK = Path("/dev/shm")
# During encoding, while checkpoints are written, and while the model is saved.
KILL_POINTS = (
    KillPoint(within=6.0),
    KillPoint(pattern="finetune/*", within=0.5),
    KillPoint(pattern="*model*/*", within=0.2),
)

pytestmark = pytest.mark.skipif(not OTHER_DISK.is_dir(), reason="needs a second file system at /dev/shm")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder for temporary files on another file system."""
    folder = OTHER_DISK / f"driveforge-{os.getpid()}"
    folder.mkdir()
    assert folder.stat().st_dev != tmp_path.stat().st_dev
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize(("kills", "clips", "steps"), kill_counts(2, (1, 4), (6, 60)))
def test_fine_tune_is_killed_and_ends_with_the_same_model(
    tmp_path: Path, elsewhere: Path, kills: int, clips: int, steps: int, record_property: Record
) -> None:
    run_dir, latents = tmp_path / "run", tmp_path / "latents"
    base = make_base(tmp_path / "base")
    buffer = make_buffer(tmp_path / "buffer", base, make_video(tmp_path / "other", coarse_frames(1)))
    words = [
        *FRAMING, "data=video", f"data.root={make_video(tmp_path / 'drive', coarse_frames(0, clips * 5))}",
        f"replay.buffer={buffer}", f"model.checkpoint={base}", f"finetune.steps={steps}", "finetune.checkpoint_every=1",
        "finetune.batch_size=2", "finetune.accumulate_grad_batches=2", f"run_dir={run_dir}",
    ]  # fmt: skip
    with killable_command("finetune", run_dir, "finetune", *words, environment={"TMPDIR": str(elsewhere)}) as command:
        run_to_end(command)
        model, left = snapshot(run_dir / "model"), list(snapshot(run_dir))
        shutil.move(run_dir / "latents", latents)
        shutil.rmtree(run_dir)
        runs = kill_repeatedly(command, KILL_POINTS, kills, random.Random(kills), record_property)
        for number, _ in enumerate(runs, start=1):
            assert all(is_intact(path) for _, path in list_checkpoints(run_dir / "finetune")), "checkpoints are intact"
            if not (run_dir / "model").exists():
                continue
            assert snapshot(run_dir / "model") == model, "the model is complete or absent"
            shutil.rmtree(run_dir)
            if number % 10:  # encoding takes longest
                shutil.copytree(latents, run_dir / "latents")
        run_to_end(command)
    assert snapshot(run_dir / "model") == model
    assert list(snapshot(run_dir)) == left
    assert not [path for path in elsewhere.rglob("*") if path.is_file()]
