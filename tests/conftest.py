"""Every test process computes on one thread that sleeps while it waits: spinning threads make two busy cores crawl."""

import os

from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# A busy machine is no fault of what is tested.
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")
