"""``driveforge calibrate``, killed at random times, leaves the old limits or the new ones, never a part of them."""

import random
import shutil
from pathlib import Path

import pytest

from tests.faults.killing import KillPoint, kill_counts, kill_repeatedly, killable_command, run_to_end, snapshot
from tests.faults.outcomes import Record
from tests.faults.small_models import make_base

SMALL = (
    "data.height=32", "data.width=48", "data.num_frames=5", "data.num_scenes=12", "validate.num_clips=12",
    "validate.num_corrupted=0", "data.domains=[driving-day]", "validate.false_reject_rate=0.5",
)  # fmt: skip


@pytest.mark.parametrize("kills", kill_counts(1))
def test_calibrate_is_killed_and_ends_with_the_same_limits(tmp_path: Path, kills: int, record_property: Record) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    words = [*SMALL, f"run_dir={run_dir}", f"model.checkpoint={make_base(tmp_path / 'base')}"]
    with killable_command("calibrate", run_dir, "calibrate", *words) as command:
        kill_points = (KillPoint(within=run_to_end(command)), KillPoint(pattern="*calibration*", within=0.5))
        whole = snapshot(run_dir)
        shutil.rmtree(run_dir)
        run_dir.mkdir()
        for number, _ in enumerate(kill_repeatedly(command, kill_points, kills, random.Random(kills), record_property)):
            for name in ("calibration.json", "calibration.png"):
                assert not (run_dir / name).exists() or (run_dir / name).read_bytes() == whole[name]
            if number % 3 == 0:  # otherwise existing limits are overwritten
                shutil.rmtree(run_dir)
                run_dir.mkdir()
        run_to_end(command)
    assert snapshot(run_dir) == whole
