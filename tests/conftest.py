"""Every test process computes on one thread, and waits without spinning: spinning threads slow down shared cores."""

import os

from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# No deadlines: the machine may be busy.
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")
