"""``driveforge simulate``, killed at random times, leaves complete parts of its output only."""

import random
import shutil
from pathlib import Path

import pytest

from tests.faults.killing import KillPoint, kill_counts, kill_repeatedly, killable_command, run_to_end, snapshot
from tests.faults.outcomes import Record

SMALL = (
    "simulate=demo", "simulate.num_scenes=3", "simulate.seconds=1", "simulate.replay_clips=4",
    "data.num_frames=9",
)  # fmt: skip


KILL_POINTS = (
    KillPoint(pattern="*.jpg", within=0.3),
    KillPoint(pattern="v1.0-mini/*.json", within=0.1),
    KillPoint(pattern="*.mp4", within=0.2),
)


@pytest.mark.parametrize("kills", kill_counts(2))
def test_simulate_is_killed_and_ends_with_the_same_world(tmp_path: Path, kills: int, record_property: Record) -> None:
    folder = tmp_path / "world"
    with killable_command("simulate", folder, "simulate", "--out", folder, *SMALL) as command:
        kill_points = (KillPoint(within=run_to_end(command)), *KILL_POINTS)
        whole = snapshot(folder)
        shutil.rmtree(folder)
        for _ in kill_repeatedly(command, kill_points, kills, random.Random(kills), record_property):
            for part in ("nuscenes", "replay"):
                if (folder / part).exists():
                    assert snapshot(folder / part) == below(whole, part), "a part is complete or absent"
            if (folder / "replay").exists():
                shutil.rmtree(folder)
        run_to_end(command)
    assert snapshot(folder) == whole


def below(files: dict[str, bytes | None], part: str) -> dict[str, bytes | None]:
    return {name.removeprefix(f"{part}/"): content for name, content in files.items() if name.startswith(f"{part}/")}
