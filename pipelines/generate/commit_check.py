"""A check of the committed units of a plan in the background, so that a resumed run starts to work at once."""

import threading
from collections.abc import Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from types import TracebackType
from typing import Self

from rich.progress import Progress

from driveforge.datasets.errors import UserError
from driveforge.datasets.progress import show_progress
from driveforge.datasets.stores.errors import StoreError
from driveforge.pipelines.console import print_result
from driveforge.pipelines.generate.commit import CommitLog
from driveforge.pipelines.generate.units import WorkUnit

# Requests in flight to an object store.
_NUM_THREADS = 16


class CommitCheck:
    """Checks the units of a plan that are ``committed`` during the block.

    In a local folder every byte of every tar is read. In an object store, which checks its bytes itself, the marker and
    the size of the tar are checked; a stage that reads a tar verifies its digest. The marker of a damaged unit is
    removed, and a line is printed.
    """

    def __init__(self, log: CommitLog, units: Sequence[WorkUnit], committed: Set[str]) -> None:
        self._log, self._units, self._committed = log, units, committed
        self._thread = threading.Thread(target=self._run, name="commit check", daemon=True)
        self._stop = threading.Event()
        self._num_checked = 0
        self._damaged: list[WorkUnit] = []
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def start(self) -> None:
        """Begin to check, unless that was done."""
        if self._thread.ident is None:
            self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def finish(self) -> list[WorkUnit]:
        """Wait until all units were checked; returns the damaged ones, which are no longer committed."""
        self.start()
        with show_progress(Progress(disable=not self._committed)) as progress:
            bar = progress.add_task("Checking committed units", total=len(self._committed))
            is_running = True
            while is_running:
                self._thread.join(0.2)
                is_running = self._thread.is_alive()
                progress.update(bar, completed=self._num_checked)
        if self._error is not None:
            raise self._error
        return self._damaged

    def _run(self) -> None:
        try:
            committed = (unit for unit in self._units if unit.id in self._committed)
            for unit, problem in self._problems(committed):
                self._num_checked += 1
                if problem:
                    print_result(problem, prefix=f"{unit.id} is generated again: ", style="yellow")
                    self._log.invalidate(unit.id)
                    self._damaged.append(unit)
                if self._stop.is_set():
                    return
        except BaseException as error:  # raised by ``finish`` in the main thread
            self._error = error

    def _problems(self, units: Iterator[WorkUnit]) -> Iterator[tuple[WorkUnit, str]]:
        """Every unit with what is wrong with it, or ""."""
        if not self._log.store.is_remote:
            for unit in units:
                yield unit, self._find_problem(unit, None)
            return
        sizes = {file.name: file.num_bytes for file in self._log.store.files()}
        with ThreadPoolExecutor(_NUM_THREADS, "checking") as pool:
            while batch := list(islice(units, 8 * _NUM_THREADS)):
                yield from zip(batch, pool.map(lambda unit: self._find_problem(unit, sizes), batch), strict=True)

    def _find_problem(self, unit: WorkUnit, sizes: dict[str, int] | None) -> str:
        try:
            marker = self._log.read_marker(unit.id)
            if sizes is None:
                self._log.read_verified(marker)
            elif sizes.get(marker.tar) != marker.num_bytes:
                found = f"has {sizes[marker.tar]} bytes" if marker.tar in sizes else "is missing"
                return f"{self._log.store.describe(marker.tar)} {found}, the marker says {marker.num_bytes}"
            if marker.keys != unit.clip_ids:
                return "its clips are not those of the plan"
        except StoreError:
            raise
        except UserError as damage:
            return str(damage)
        return ""
