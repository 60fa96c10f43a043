"""Workers that make nothing, fail, or die, as the unit's id tells them; importable in a Ray actor."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from pipelines.generation.units import Unit


class EchoWorker:
    """``ok-*`` is made, ``raise-*`` raises, ``exit-*`` ends the process, ``kill-once-*`` is killed the first time.

    ``meet-*`` is made as soon as there were two workers.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._count("workers")

    def make(self, unit: Unit) -> dict[str, Any]:
        attempt = self._count(unit.id)
        if unit.id.startswith("raise"):
            raise ValueError(f"poison in {unit.id}")
        if unit.id.startswith("exit"):
            os._exit(139)
        if unit.id.startswith("kill-once") and attempt == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        deadline = time.monotonic() + 60
        while unit.id.startswith("meet") and self._seen("workers") < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        return {"pid": os.getpid(), "threads": os.environ.get("OMP_NUM_THREADS", "")}

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
