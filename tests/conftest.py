"""Every test process computes on one thread, and waits without spinning: spinning threads slow down shared cores."""

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from driveforge.pipelines.processes.environment import environment
from tests.object_stores import BUCKET, azure_server, s3_server

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# No deadlines: the machine may be busy.
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")


@pytest.fixture
def agg_backend() -> Iterator[None]:
    """Pictures are drawn without a display, and the backend of other tests is restored."""
    from matplotlib import get_backend, pyplot

    backend = get_backend()
    pyplot.switch_backend("Agg")
    yield
    pyplot.switch_backend(backend)


@pytest.fixture(scope="session")
def s3_environment() -> Iterator[dict[str, str]]:
    """The environment of clients of an S3 server that runs during the test session."""
    with s3_server() as values:
        yield values


@pytest.fixture
def store_url(s3_environment: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """The URL of an empty folder in a store; what is cached is below ``tmp_path``."""
    with environment({**s3_environment, "DRIVEFORGE_CACHE": str(tmp_path / "cache")}):
        yield f"s3://{BUCKET}/{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="session")
def azure_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """As ``s3_environment``, for Microsoft's emulator; skips without it."""
    command = shutil.which("azurite-blob")
    if command is None:
        pytest.skip("azurite-blob is not on the path; `npm install --global azurite` installs it")
    with azure_server(command, tmp_path_factory.mktemp("azurite")) as values:
        yield values


@pytest.fixture
def azure_url(azure_environment: dict[str, str], tmp_path: Path) -> Iterator[str]:
    with environment({**azure_environment, "DRIVEFORGE_CACHE": str(tmp_path / "cache")}):
        yield f"az://{BUCKET}/{uuid.uuid4().hex[:8]}"
