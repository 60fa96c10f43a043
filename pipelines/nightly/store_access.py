"""Access to the MLflow store: a stage that needs it waits while the server is down, and is repeated if it fails."""

import time
from collections.abc import Callable
from typing import TypeVar

from driveforge.datasets.errors import UserError
from driveforge.pipelines.console import print_message
from driveforge.pipelines.tracking.runs import Tracker
from driveforge.pipelines.tracking.store import require_reachable

Result = TypeVar("Result")

WAIT_SECONDS = 900.0
RETRY_SECONDS = 5.0
# Failures of a server that responds again at once.
_MAX_ATTEMPTS = 5


class StoreUnavailableError(Exception):
    """The MLflow server did not respond for ``WAIT_SECONDS``."""


def wait_for_store(uri: str) -> None:
    """Wait until the server at ``uri`` responds; raises StoreUnavailableError after ``WAIT_SECONDS``."""
    deadline, is_waiting = time.monotonic() + WAIT_SECONDS, False
    while True:
        try:
            require_reachable(uri)
            return
        except UserError as error:
            if time.monotonic() > deadline:
                raise StoreUnavailableError(str(error)) from error
            if not is_waiting:
                print_message(f"{error}; waiting for it")
            is_waiting = True
        time.sleep(RETRY_SECONDS)


def send_queued(tracker: Tracker) -> None:
    """Send all queued calls to the server, and wait for it if it is down."""
    for _ in range(_MAX_ATTEMPTS):
        wait_for_store(tracker.store.uri)
        tracker.outbox.flush()
        if not tracker.config.run.mlflow_outbox.exists():
            return
        time.sleep(RETRY_SECONDS)
    raise StoreUnavailableError(f"MLflow at {tracker.store.uri} does not accept calls")


def with_store(tracker: Tracker, work: Callable[[], Result]) -> Result:
    """Do ``work``, which needs the server and can be repeated, again if the server fails meanwhile."""
    for attempt in range(_MAX_ATTEMPTS):
        send_queued(tracker)
        try:
            result = work()
            send_queued(tracker)
            return result
        except Exception as error:
            if attempt == _MAX_ATTEMPTS - 1 or not _is_of_store(error, tracker):
                raise
            print_message(f"MLflow failed ({type(error).__name__}); trying again")
    raise AssertionError


def _is_of_store(error: BaseException, tracker: Tracker) -> bool:
    """Whether ``error`` was caused by a server that stopped, and not by an invalid call."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, StoreUnavailableError):
        return False
    if tracker.config.run.mlflow_outbox.exists() or not _is_reachable(tracker.store.uri):
        return True
    current: BaseException | None = error
    while current is not None:
        if isinstance(current, MlflowException):
            return current.error_code in ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED")
        current = current.__cause__
    return False


def _is_reachable(uri: str) -> bool:
    try:
        require_reachable(uri)
    except UserError:
        return False
    return True
