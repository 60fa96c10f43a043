"""Every test process computes on one thread, and waits without spinning: spinning threads slow down shared cores."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

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
