"""A parallel map over all cores of this machine."""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from driveforge.datasets.errors import UserError
from driveforge.pipelines.processes.orphans import exit_with_parent
from driveforge.pipelines.processes.threads import limit_threads

Item = TypeVar("Item")
Result = TypeVar("Result")


def parallel_map(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    initializer: Callable[..., None] | None = None,
    initargs: tuple[Any, ...] = (),
) -> Iterator[Result]:
    """Yield ``function(item)`` for every item, in order, from one single-threaded process per core.

    ``initializer(*initargs)`` runs first in every process. Both functions must be importable by name. An error of
    ``function`` is raised here and ends the map; raises UserError if one terminates. The processes end with this one,
    even if it is killed.
    """
    if not items:
        return
    spawn = multiprocessing.get_context("spawn")
    workers = min(os.cpu_count() or 1, len(items))
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(workers, spawn, _start, (initializer, initargs)) as pool:
        try:
            # Ctrl-C reaches the whole process group. Workers inherit this mask and ignore it; this process ends them.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                futures = deque(pool.submit(function, item) for item in items)
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            while futures:
                yield futures.popleft().result()
        except BrokenProcessPool:
            raise UserError(
                "a worker process terminated, probably out of memory; finished work is kept, run the command again"
            ) from None
        except BaseException:
            for process in set(multiprocessing.active_children()) - others:
                process.kill()
            raise


def _start(initializer: Callable[..., None] | None, initargs: tuple[Any, ...]) -> None:
    exit_with_parent()
    limit_threads()
    if initializer is not None:
        initializer(*initargs)
