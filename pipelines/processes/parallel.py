"""Work on all cores of this machine: spawned processes, results in order."""

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
    """``work(item)`` for every item, in order, by one process of one thread a core.

    ``prepare(*arguments)`` runs first in every process. All are sent to the processes, so they must be importable by
    name. What ``function`` raises is raised here, and the rest is dropped. A UserError where a process dies. They end
    with this process, however it ends.
    """
    if not items:
        return
    spawn = multiprocessing.get_context("spawn")
    workers = min(os.cpu_count() or 1, len(items))
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(workers, spawn, _start, (initializer, initargs)) as pool:
        try:
            # A terminal interrupts its whole group; processes inherit the mask, and are ended by this one.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                futures = deque(pool.submit(function, item) for item in items)
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            while futures:
                yield futures.popleft().result()
        except BrokenProcessPool:
            raise UserError(
                "a worker process died, most often because memory ran out; what was finished is kept, run it again"
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
