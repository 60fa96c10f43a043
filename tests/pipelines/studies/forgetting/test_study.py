"""The whole study with tiny models: every variant is run, evaluated and reported exactly once."""

from pathlib import Path

import pyarrow.parquet
import pytest

from driveforge.pipelines.studies.command import load_settings
from driveforge.pipelines.studies.forgetting.settings import ForgettingStudy
from driveforge.pipelines.studies.forgetting.study import study_forgetting
from driveforge.pipelines.studies.forgetting.variants import (
    BASE,
    HIGH_LR_VARIANTS,
    SHIPPED_BASE_VARIANTS,
    STILL,
    VARIANTS,
    Variant,
)

SMALL = {
    "height": 48,
    "width": 64,
    "base_clips": 3,
    "driving_clips": 3,
    "test_clips": 4,
    "validation_clips": 2,
    "base_steps": 4,
    "steps": 10,
    "num_seeds": 1,
    "num_secondary_seeds": 1,
    "batch_size": 2,
}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("base", "variants"), [("trained", (*VARIANTS, *HIGH_LR_VARIANTS)), ("shipped", SHIPPED_BASE_VARIANTS)]
)
def test_every_variant_is_run_and_evaluated_once(tmp_path: Path, base: str, variants: tuple[Variant, ...]) -> None:
    small = [f"base={base}", *(f"{name}={value}" for name, value in SMALL.items())]
    settings = load_settings(ForgettingStudy, [f"run_dir={tmp_path}", *small])
    page = tmp_path / "page.md"
    study_forgetting(settings, page)
    text = page.read_text()
    assert all(f"| {variant.name} |" in text for variant in variants)
    table = pyarrow.parquet.read_table(page.with_suffix(".parquet"))
    assert set(table["model"].to_pylist()) == {
        STILL,
        BASE,
        *(variant.name for variant in variants),
    }
    assert len(set(table["protocol"].to_pylist())) == 1
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("evaluation.parquet")}
    study_forgetting(settings, page)
    assert {path: path.stat().st_mtime_ns for path in made} == made and page.read_text() == text
