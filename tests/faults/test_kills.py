"""``generate``, ``gate`` and ``export``, killed at random times and run again, give the same files.

Other commands have test modules of their own.
"""

import random
import shutil
from pathlib import Path

import pytest

from driveforge.pipelines.export.verify import verify
from tests.faults.killing import KillPoint, kill_counts, kill_repeatedly, killable_command, run_to_end, snapshot
from tests.faults.outcomes import Record


@pytest.mark.parametrize("kills", kill_counts(2))
@pytest.mark.parametrize("executor", ["local", pytest.param("ray", marks=pytest.mark.slow)])
def test_generate_is_killed_and_ends_with_the_same_clips(
    finished_run: Path, tmp_path: Path, executor: str, kills: int, record_property: Record
) -> None:
    root, whole = tmp_path / "candidates", snapshot(finished_run / "candidates")
    kill_points = (KillPoint(within=4.0 if executor == "local" else 12.0), KillPoint(pattern="*.tar", within=1.0))
    with killable_command(f"generate, {executor}", root, "generate", root, executor) as command:
        for _ in kill_repeatedly(command, kill_points, kills, random.Random(kills), record_property):
            assert _counted(snapshot(root)).items() <= whole.items()
            if _counted(snapshot(root)) == whole:
                shutil.rmtree(root)
        run_to_end(command)
    assert snapshot(root) == whole


def _counted(files: dict[str, bytes | None]) -> dict[str, bytes | None]:
    """Files except temporary ones and notes of attempts, which the next run deletes."""
    return {n: c for n, c in files.items() if not Path(n).name.startswith(".") and "_attempts/" not in n}


@pytest.mark.parametrize("kills", kill_counts(4))
@pytest.mark.parametrize("stage", ["gate", "export"])
def test_gate_and_export_are_killed_and_end_with_the_same_files(
    run_dir: Path, stage: str, kills: int, record_property: Record
) -> None:
    whole, shards = snapshot(run_dir), run_dir / "shards"
    with killable_command(stage, run_dir, stage, f"run_dir={run_dir}") as command:
        kill_points = (KillPoint(within=run_to_end(command)), KillPoint(pattern=".*.tmp", within=0.05))
        for number, _ in enumerate(kill_repeatedly(command, kill_points, kills, random.Random(kills), record_property)):
            if (shards / "index.json").exists():
                assert verify(shards).ok, "the earlier export stays valid"
            if stage == "export" and number % 4 < 2:  # also without an earlier export
                for path in shards.iterdir():
                    path.unlink()
        run_to_end(command)
    assert snapshot(run_dir) == whole
