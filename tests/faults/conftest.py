"""A finished small run, made once, and copies of it to damage."""

import shutil
from pathlib import Path

import pytest

from tests.faults.small_run import make_run


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "run"
    make_run(folder)
    return folder


@pytest.fixture
def run_dir(finished_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_run, tmp_path / "run"))
