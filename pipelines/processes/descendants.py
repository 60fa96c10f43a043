"""Termination of indirect child processes, such as the servers that Ray starts."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

# Seconds for descendants to exit before they are killed.
GRACE_SECONDS = 2.0
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


@contextmanager
def terminate_descendants() -> Iterator[None]:
    """Terminate every process that was started inside the block, directly or indirectly, when the block is left.

    On Linux this includes orphans: this process becomes their parent, instead of init.
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
            # Processes that were started in the meantime.
            left = [p for p in _descendants() if p not in known and p not in left]


def _descendants() -> list[psutil.Process]:
    return list(psutil.Process().children(recursive=True))
