"""Processes that others start on our behalf, such as the servers of Ray, end with the work that needed them."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

# How long descendants may take to end by themselves before they are killed.
GRACE_SECONDS = 2.0
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


@contextmanager
def terminate_descendants() -> Iterator[None]:
    """After the block, everything that it started has ended, directly or not, however the block ended.

    On Linux that holds for what lost its own parent too: it becomes a child of this process instead of that of init.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    known = set(_descendants())
    try:
        yield
    finally:
        _, left = psutil.wait_procs([p for p in _descendants() if p not in known], timeout=GRACE_SECONDS)
        while left:
            for process in left:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(left, timeout=GRACE_SECONDS)
            # What one of them started in its last moment.
            left = [p for p in _descendants() if p not in known and p not in left]


def _descendants() -> list[psutil.Process]:
    return list(psutil.Process().children(recursive=True))
