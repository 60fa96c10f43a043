"""One way to end: SIGTERM and SIGINT both raise ``KeyboardInterrupt`` in the main thread, so that every block is left.

Lightning and Ray put handlers of their own in our place, and Lightning ends a process with status 1; so the signal is
remembered, and whoever started the command is told of it by the usual status, 128 and its number.
"""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Terminals and supervisors signal a whole group, so the same one may come twice while blocks are being left.
_GRACE_SECONDS = 5.0


class StopSignal:
    """The signal that came, if any."""

    def __init__(self) -> None:
        self.signum: int | None = None
        self._since = 0.0

    def handle(self, signum: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.signum is None or now - self._since > _GRACE_SECONDS:
            self.signum, self._since = signum, now
            raise KeyboardInterrupt

    @property
    def status(self) -> int:
        return 128 + (self.signum or signal.SIGINT)


@contextmanager
def interruptible() -> Iterator[StopSignal]:
    """While the block runs, the two signals interrupt it."""
    stop = StopSignal()
    with preserve_handlers():
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, stop.handle)
        yield stop


@contextmanager
def preserve_handlers() -> Iterator[None]:
    """What the block does to the handlers of the two signals is undone at its end."""
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for signum, handler in before.items():
            if handler is not None:  # which was not set from Python
                signal.signal(signum, handler)
