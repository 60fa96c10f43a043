"""The time budget of a pass: stages are interrupted like by SIGTERM, which every stage resumes from."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from driveforge.finetune.training.time_limit import TimeIsUp


@dataclass(kw_only=True, slots=True)
class TimeBudget:
    """``deadline`` is a time of ``time.monotonic``, or None; ``has_interrupted`` is set when it interrupts a stage."""

    deadline: float | None
    has_interrupted: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def of_hours(cls, hours: float | None) -> "TimeBudget":
        return cls(deadline=None if hours is None else time.monotonic() + 3600 * hours)

    def require_time(self) -> None:
        """Raise TimeIsUp if nothing is left."""
        if self.deadline is not None and time.monotonic() >= self.deadline:
            raise TimeIsUp("the time budget is used up")

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Send this process SIGTERM if the deadline passes inside the block."""
        if self.deadline is None:
            yield
            return
        timer = threading.Timer(max(0.0, self.deadline - time.monotonic()), self._interrupt)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _interrupt(self) -> None:
        self.has_interrupted.set()
        os.kill(os.getpid(), signal.SIGTERM)
