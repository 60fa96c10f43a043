"""Runs the forgetting study and writes its page, with the raw values beside it."""

from pathlib import Path

from driveforge.pipelines.console import print_result
from driveforge.pipelines.studies.forgetting.report import write_report
from driveforge.pipelines.studies.forgetting.runs import run_all, write_raw_table
from driveforge.pipelines.studies.forgetting.settings import ForgettingStudy
from driveforge.pipelines.studies.forgetting.workspace import StudyWorkspace


def study_forgetting(settings: ForgettingStudy, page: Path) -> None:
    """What an earlier call has made is taken from ``<run_dir>``."""
    workspace = StudyWorkspace(study=settings, root_dir=settings.run_dir)
    run_results = run_all(workspace)
    write_report(page, workspace, run_results)
    write_raw_table(run_results, page.with_suffix(".parquet"))
    print_result(page)
