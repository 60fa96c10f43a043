"""A finished small run, made once, with copies to damage; outcomes are summarized at the end of a test run."""

import shutil
from pathlib import Path

import pytest

from tests.faults.outcomes import markdown_tables
from tests.faults.small_run import make_run


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "run"
    make_run(folder)
    return folder


@pytest.fixture
def run_dir(finished_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for found in terminalreporter.stats.values() for report in found if hasattr(report, "when")]
    for line in markdown_tables(pair for report in reports if report.when == "call" for pair in report.user_properties):
        terminalreporter.write_line(line)
