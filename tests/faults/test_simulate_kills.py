"""``driveforge simulate``, killed at any moment: a part of the world is there whole or not at all."""

import random
import shutil
from pathlib import Path

import pytest

from tests.faults.killing import Moment, everything, few_or_many, finish, killed, victim
from tests.faults.outcomes import Record

SMALL = (
    "simulate=demo", "simulate.num_scenes=3", "simulate.seconds=1", "simulate.replay_clips=4",
    "data.num_frames=9",
)  # fmt: skip


MOMENTS = (
    Moment(pattern="*.jpg", within=0.3),
    Moment(pattern="v1.0-mini/*.json", within=0.1),
    Moment(pattern="*.mp4", within=0.2),
)


@pytest.mark.parametrize("kills", few_or_many(4))
def test_simulate_is_killed_and_ends_with_the_same_world(tmp_path: Path, kills: int, record_property: Record) -> None:
    folder = tmp_path / "world"
    with victim("simulate", folder, "simulate", "--out", folder, *SMALL) as command:
        moments = (Moment(within=finish(command)), *MOMENTS)
        whole = everything(folder)
        shutil.rmtree(folder)
        for _ in killed(command, moments, kills, random.Random(kills), record_property):
            for part in ("nuscenes", "replay"):
                if (folder / part).exists():
                    assert everything(folder / part) == below(whole, part), "a part is whole or not there"
            if (folder / "replay").exists():
                shutil.rmtree(folder)
        finish(command)
    assert everything(folder) == whole


def below(files: dict[str, bytes | None], part: str) -> dict[str, bytes | None]:
    return {name.removeprefix(f"{part}/"): content for name, content in files.items() if name.startswith(f"{part}/")}
