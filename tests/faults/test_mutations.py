"""Any damage to any file that the stages after generation read: one line that says so, or the very same result."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.webdataset_shards.index import read_index
from driveforge.pipelines.export import export
from driveforge.pipelines.run_dir import RunDir
from driveforge.pipelines.validate.gate import gate
from driveforge.pipelines.verify import verify
from tests.faults.mutations import mutated
from tests.faults.outcomes import OTHER, SAME, Record, judge
from tests.faults.small_run import config_of, contents
from tests.pipelines.small_plans import generate_small

Readers = Callable[[Path], None]


def judged_and_exported(run_dir: Path) -> None:
    gate(RunDir(run_dir), RunDir(run_dir).calibration)
    export(RunDir(run_dir), config_of(run_dir).export)


def exported(run_dir: Path) -> None:
    export(RunDir(run_dir), config_of(run_dir).export)


def generated(run_dir: Path) -> None:
    generate_small(run_dir / "candidates")


def verified(run_dir: Path) -> None:
    report = verify(run_dir / "shards")
    if not report.ok:
        raise UserError(report.problems[0][:300])


# What is damaged, and who reads it.
FILES: dict[str, Readers] = {
    "calibration.json": judged_and_exported,
    "overrides.json": judged_and_exported,
    "verdicts.parquet": exported,
    "candidates/*.tar": judged_and_exported,
    "candidates/_commits/*.json": judged_and_exported,
    "candidates/plan.jsonl": generated,
    "candidates/first_frames/*.npy": generated,
    "shards/index.json": verified,
    "shards/*.tar": verified,
    "shards/croissant.json": verified,
    "shards/README.md": verified,
}
FEW, MANY = range(8), [pytest.param(seed, marks=pytest.mark.slow) for seed in range(8, 150)]


@pytest.mark.parametrize("pattern", FILES)
@pytest.mark.parametrize("seed", [*FEW, *MANY])
def test_damage_is_told_in_a_line_or_changes_nothing(
    run_dir: Path, pattern: str, seed: int, record_property: Record
) -> None:
    rng, whole = random.Random(f"{pattern} {seed}"), contents(run_dir)
    index = read_index(run_dir / "shards")
    path = rng.choice(sorted(run_dir.glob(pattern)))
    name = str(path.relative_to(run_dir))
    damaged, how = mutated(whole[name], name, rng)
    path.write_bytes(damaged)

    def end_of(_: None) -> str:
        after = contents(run_dir)
        if pattern == "overrides.json":  # another word of a reviewer is no damage, if nothing else comes of it
            assert _candidates(after) == _candidates(whole), how
            return OTHER
        if pattern == "shards/index.json":
            assert read_index(run_dir / "shards") == index, how
            return SAME
        del after[name]
        assert after == {n: c for n, c in whole.items() if n != name}, how
        return SAME

    judge(record_property, pattern, lambda: FILES[pattern](run_dir), end_of)


def _candidates(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if name.startswith("candidates/")}
