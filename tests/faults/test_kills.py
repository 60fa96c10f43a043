"""SIGKILL at any moment, and the same command again: the same bytes, nothing lost, nothing left behind.

Of generation and what follows it; the commands before it, and fine-tuning, have files of their own.
"""

import random
import shutil
from pathlib import Path

import pytest

from driveforge.pipelines.verify import verify
from tests.faults.killing import Moment, everything, few_or_many, finish, killed, victim
from tests.faults.outcomes import Record


@pytest.mark.parametrize("kills", few_or_many(2))
@pytest.mark.parametrize("executor", ["local", pytest.param("ray", marks=pytest.mark.slow)])
def test_generate_is_killed_and_ends_with_the_same_clips(
    finished_run: Path, tmp_path: Path, executor: str, kills: int, record_property: Record
) -> None:
    root, whole = tmp_path / "candidates", everything(finished_run / "candidates")
    moments = (Moment(within=4.0 if executor == "local" else 12.0), Moment(pattern="*.tar", within=1.0))
    with victim(f"generate, {executor}", root, "generate", root, executor) as command:
        for _ in killed(command, moments, kills, random.Random(kills), record_property):
            assert _counted(everything(root)).items() <= whole.items()
            if _counted(everything(root)) == whole:
                shutil.rmtree(root)
        finish(command)
    assert everything(root) == whole


def _counted(files: dict[str, bytes | None]) -> dict[str, bytes | None]:
    """All but scratch and notes of attempts, which the next run collects."""
    return {n: c for n, c in files.items() if not Path(n).name.startswith(".") and "_attempts/" not in n}


@pytest.mark.parametrize("kills", few_or_many(4))
@pytest.mark.parametrize("stage", ["gate", "export"])
def test_gate_and_export_are_killed_and_end_with_the_same_files(
    run_dir: Path, stage: str, kills: int, record_property: Record
) -> None:
    whole, shards = everything(run_dir), run_dir / "shards"
    with victim(stage, run_dir, stage, f"run_dir={run_dir}") as command:
        moments = (Moment(within=finish(command)), Moment(pattern=".*.tmp", within=0.05))
        for number, _ in enumerate(killed(command, moments, kills, random.Random(kills), record_property)):
            if (shards / "index.json").exists():
                assert verify(shards).ok, "what was exported before stays whole"
            if stage == "export" and number % 4 < 2:  # from nothing, and over an export that is there
                for path in shards.iterdir():
                    path.unlink()
        finish(command)
    assert everything(run_dir) == whole
