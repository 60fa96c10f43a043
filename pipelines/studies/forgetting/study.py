"""Runs the forgetting study and writes its page, with the raw values beside it."""

from pathlib import Path

from driveforge.pipelines.console import show
from driveforge.pipelines.studies.forgetting.workspace import Ground
from driveforge.pipelines.studies.forgetting.report import write_report
from driveforge.pipelines.studies.forgetting.runs import raw_table, run_all
from driveforge.pipelines.config.config import Config


def study_forgetting(config: Config, page: Path) -> None:
    """What an earlier call has made is taken from ``<run_dir>/study``."""
    ground = Ground(study=config.forgetting, store=config.run_dir / "study")
    outcomes = run_all(ground)
    write_report(page, ground, outcomes)
    raw_table(outcomes, page.with_suffix(".parquet"))
    show(page)
