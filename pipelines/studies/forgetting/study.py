"""The forgetting study: runs it, and writes its page and a table of all values."""

from pathlib import Path

from driveforge.pipelines.console import print_result
from driveforge.pipelines.studies.forgetting.report import write_report
from driveforge.pipelines.studies.forgetting.runs import run_all, write_raw_table
from driveforge.pipelines.studies.forgetting.settings import ForgettingStudy
from driveforge.pipelines.studies.forgetting.workspace import StudyWorkspace


def study_forgetting(settings: ForgettingStudy, page: Path) -> None:
    """Run the study and write ``page``; results of earlier calls in ``<run_dir>`` are reused."""
    workspace = StudyWorkspace(study=settings, root_dir=settings.run_dir)
    run_results = run_all(workspace)
    write_report(page, workspace, run_results)
    write_raw_table(run_results, page.with_suffix(".parquet"))
    print_result(page)
