"""The folder of real footage, for the tests that use it."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real footage; skips the test if there is none."""
    default = Path(__file__).resolve().parents[3] / "shared" / "data"
    folder = Path(os.environ.get("DRIVEFORGE_REAL_DATA") or default)
    if not folder.is_dir():
        pytest.skip(f"no real footage in {folder}; set DRIVEFORGE_REAL_DATA")
    return folder
