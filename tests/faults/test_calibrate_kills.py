"""The work of ``driveforge calibrate``, killed at any moment: the old limits or the new ones, never half of them."""

import random
import shutil
from pathlib import Path

import pytest

from tests.faults.killing import Moment, everything, few_or_many, finish, killed, victim
from tests.faults.outcomes import Record
from tests.faults.small_models import make_base

SMALL = (
    "data.height=32", "data.width=48", "data.num_frames=5", "data.num_scenes=12", "validate.num_clips=12",
    "data.domains=[driving-day]", "validate.false_reject_rate=0.5",
)  # fmt: skip


@pytest.mark.parametrize("kills", few_or_many(2))
def test_calibrate_is_killed_and_ends_with_the_same_limits(tmp_path: Path, kills: int, record_property: Record) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    words = [*SMALL, f"run_dir={run_dir}", f"model.checkpoint={make_base(tmp_path / 'base')}"]
    with victim("calibrate", run_dir, "calibrate", *words) as command:
        moments = (Moment(within=finish(command)), Moment(pattern="*calibration*", within=0.5))
        whole = everything(run_dir)
        shutil.rmtree(run_dir)
        run_dir.mkdir()
        for number, _ in enumerate(killed(command, moments, kills, random.Random(kills), record_property)):
            for name in ("calibration.json", "calibration.png"):
                assert not (run_dir / name).exists() or (run_dir / name).read_bytes() == whole[name]
            if number % 3 == 0:  # else over the limits that are there
                shutil.rmtree(run_dir)
                run_dir.mkdir()
        finish(command)
    assert everything(run_dir) == whole
