"""Workers that do nothing, fail or die, depending on the unit's id; importable in a Ray actor."""

import ctypes
import errno
import os
import signal
import time
from pathlib import Path
from typing import Any

from driveforge.pipelines.generate.units import WorkUnit


def threads_by_library() -> dict[str, int]:
    """The number of threads that each library uses in this process."""
    import cv2
    import numba
    import scipy.linalg  # loads its own OpenBLAS
    import torch
    from threadpoolctl import threadpool_info

    pools = {f"{pool['internal_api']} {pool['filepath']}": pool["num_threads"] for pool in threadpool_info()}
    assert scipy.linalg
    return pools | {
        "cv2": cv2.getNumThreads(),
        "torch": torch.get_num_threads(),
        "numba": numba.get_num_threads(),
    }


class EchoWorker:
    """``ok-*`` succeeds, ``raise-*`` raises, ``exit-*`` exits, ``kill-once-*`` is killed at the first attempt.

    ``segfault-*`` reads from address 0, ``hang-*`` never returns, ``threads-*`` reports the threads of its process.
    ``full-*`` raises a library's error about a full disk. ``meet-*`` succeeds once two workers have started.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._count("workers")

    def make(self, unit: WorkUnit) -> dict[str, Any]:
        attempt = self._count(unit.id)
        if unit.id.startswith("raise"):
            raise ValueError(f"poison in {unit.id}")
        if unit.id.startswith("full"):
            try:
                raise OSError(errno.ENOSPC, "No space left on device", f"/cache/{unit.id}")
            except OSError as error:
                raise RuntimeError("cannot compile") from error
        if unit.id.startswith("exit"):
            os._exit(139)
        if unit.id.startswith("kill-once") and attempt == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if unit.id.startswith("segfault"):
            ctypes.string_at(0)
        if unit.id.startswith("hang"):
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
            time.sleep(10_000)
        deadline = time.monotonic() + 60
        while unit.id.startswith("meet") and self._count_so_far("workers") < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        return {"pid": os.getpid(), "threads": threads_by_library() if unit.id.startswith("threads") else {}}

    def _count(self, name: str) -> int:
        """Count ``name`` once more; returns its count over all processes."""
        with open(self._log / name, "a") as file:
            file.write("x")
        return self._count_so_far(name)

    def _count_so_far(self, name: str) -> int:
        return (self._log / name).stat().st_size


class BrokenWorker:
    def __init__(self) -> None:
        raise ValueError("no weights here")

    def make(self, unit: WorkUnit) -> dict[str, Any]:
        raise NotImplementedError


class DyingWorker:
    def __init__(self) -> None:
        os._exit(1)

    def make(self, unit: WorkUnit) -> dict[str, Any]:
        raise NotImplementedError
