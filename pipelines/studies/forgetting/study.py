"""Runs the forgetting study and writes its page, with the raw values beside it."""

from pathlib import Path

from driveforge.pipelines.console import show
from driveforge.pipelines.studies.forgetting.report import write_report
from driveforge.pipelines.studies.forgetting.runs import raw_table, run_all
from driveforge.pipelines.studies.forgetting.settings import ForgettingStudy
from driveforge.pipelines.studies.forgetting.workspace import Ground


def study_forgetting(settings: ForgettingStudy, page: Path) -> None:
    """What an earlier call has made is taken from ``<run_dir>``."""
    ground = Ground(study=settings, store=settings.run_dir)
    outcomes = run_all(ground)
    write_report(page, ground, outcomes)
    raw_table(outcomes, page.with_suffix(".parquet"))
    show(page)
