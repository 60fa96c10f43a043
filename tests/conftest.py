"""Every test process computes on one thread, and waits without spinning: spinning threads slow down shared cores."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.object_stores import BUCKET, environment, s3_server

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
