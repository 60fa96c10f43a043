"""Damage to the files that stages after generation read gives a one-line error or the same result."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.webdataset_shards.index import read_index
from driveforge.pipelines.export.verify import verify
from tests.faults.damage import damage_content
from tests.faults.outcomes import OTHER, SAME, Record, record_outcome
from tests.faults.small_run import contents, run_export, run_gate
from tests.pipelines.small_plans import generate_small

Readers = Callable[[Path], None]


def judged_and_exported(run_dir: Path) -> None:
    run_gate(run_dir)
    run_export(run_dir)


def exported(run_dir: Path) -> None:
    run_export(run_dir)


def generated(run_dir: Path) -> None:
    generate_small(run_dir / "candidates")


def verified(run_dir: Path) -> None:
    report = verify(run_dir / "shards")
    if not report.ok:
        raise UserError(report.problems[0][:300])


# Damaged files, and the stages that read them.
FILES: dict[str, Readers] = {
    "calibration.json": judged_and_exported,
    "overrides.json": judged_and_exported,
    "decisions.jsonl": judged_and_exported,
    "verdicts.parquet": exported,
    "candidates/*.tar": judged_and_exported,
    "candidates/_commits/*.json": judged_and_exported,
    "candidates/plan.jsonl": generated,
    "candidates/first_frames/*.npy": generated,
    "candidates/scenes/*.json": generated,
    "shards/index.json": verified,
    "shards/*.tar": verified,
    "shards/croissant.json": verified,
    "shards/README.md": verified,
}
FEW, MANY = range(8), [pytest.param(seed, marks=pytest.mark.slow) for seed in range(8, 150)]


@pytest.mark.parametrize("pattern", FILES)
@pytest.mark.parametrize("seed", [*FEW, *MANY])
def test_damage_gives_a_one_line_error_or_the_same_result(
    run_dir: Path, pattern: str, seed: int, record_property: Record
) -> None:
    rng, whole = random.Random(f"{pattern} {seed}"), contents(run_dir)
    index = read_index(run_dir / "shards")
    path = rng.choice(sorted(run_dir.glob(pattern)))
    name = str(path.relative_to(run_dir))
    damaged, change = damage_content(whole[name], name, rng)
    path.write_bytes(damaged)

    def classify(_: None) -> str:
        after = contents(run_dir)
        if pattern in (
            "overrides.json",
            "decisions.jsonl",
        ):  # another decision of a reviewer is valid, but must change nothing else
            assert _candidates(after) == _candidates(whole), change
            return OTHER
        if pattern == "shards/index.json":
            assert read_index(run_dir / "shards") == index, change
            return SAME
        del after[name]
        assert after == {n: c for n, c in whole.items() if n != name}, change
        return SAME

    record_outcome(record_property, pattern, lambda: FILES[pattern](run_dir), classify)


def _candidates(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if name.startswith("candidates/")}
