"""Work on all cores of this machine: spawned processes, results in order."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from datasets.errors import UserError
from pipelines.threads import limit_threads

Item = TypeVar("Item")
Result = TypeVar("Result")


def on_all_cores(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    prepare: Callable[..., None] | None = None,
    arguments: tuple[Any, ...] = (),
) -> Iterator[Result]:
    """``work(item)`` for every item, in order, by one process of one thread a core.

    ``prepare(*arguments)`` runs first in every process. All are sent to the processes, so they must be importable by
    name. What ``work`` raises is raised here, and what was not begun is dropped. A UserError where a process dies.
    """
    if not items:
        return
    spawn = multiprocessing.get_context("spawn")
    workers = min(os.cpu_count() or 1, len(items))
    with ProcessPoolExecutor(workers, spawn, _start, (prepare, arguments)) as pool:
        try:
            yield from pool.map(work, items)
        except BrokenProcessPool:
            raise UserError(
                "a worker process died, most often because memory ran out; what was finished is kept, run it again"
            ) from None


def _start(prepare: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    limit_threads()
    if prepare is not None:
        prepare(*arguments)
