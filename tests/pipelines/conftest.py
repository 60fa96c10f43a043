"""Where real footage is, for tests that ask for it."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real footage; the test is skipped where there is none."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    folder = Path(os.environ.get("DRIVEFORGE_REAL_DATA") or beside)
    if not folder.is_dir():
        pytest.skip(f"no real footage in {folder}; set DRIVEFORGE_REAL_DATA")
    return folder
