"""Workers that make nothing, fail, or die, as the unit's id tells them; importable in a Ray actor."""

import ctypes
import errno
import os
import signal
import time
from pathlib import Path
from typing import Any

from driveforge.pipelines.generate.units import Unit


def threads_by_library() -> dict[str, int]:
    """How many threads each library of this process would use."""
    import cv2
    import numba
    import scipy.linalg  # brings an OpenBLAS of its own
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
    """``ok-*`` is made, ``raise-*`` raises, ``exit-*`` ends the process, ``kill-once-*`` is killed the first time.

    ``segfault-*`` reads from address 0, ``hang-*`` never ends, ``threads-*`` tells the threads of its process.
    ``full-*`` meets a full disk inside a library. ``meet-*`` is made as soon as there were two workers.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._count("workers")

    def make(self, unit: Unit) -> dict[str, Any]:
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
        while unit.id.startswith("meet") and self._seen("workers") < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        return {"pid": os.getpid(), "threads": threads_by_library() if unit.id.startswith("threads") else {}}

    def _count(self, name: str) -> int:
        """How often ``name`` happened, in any process."""
        with open(self._log / name, "a") as file:
            file.write("x")
        return self._seen(name)

    def _seen(self, name: str) -> int:
        return (self._log / name).stat().st_size


class BrokenWorker:
    def __init__(self) -> None:
        raise ValueError("no weights here")


class DyingWorker:
    def __init__(self) -> None:
        os._exit(1)
