"""Every test process computes on one thread that sleeps while it waits: spinning threads make two busy cores crawl."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
