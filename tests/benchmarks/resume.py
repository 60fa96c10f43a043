"""Resuming a large plan of which 90 % is done: seconds until work begins, overhead per unit, and memory of the driver.

python -m tests.benchmarks.resume [--units N ...] [--store]

The workers do nothing, and the committed tars are empty. With ``--store``, candidates are in an object store: a small
server on this machine.
"""

import argparse
import hashlib
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from driveforge.datasets.stores.local import LocalStore
from driveforge.datasets.stores.remote import RemoteStore
from driveforge.datasets.webdataset_shards.format import dump_json
from driveforge.pipelines.generate.executors.settings import ExecutorSettings
from driveforge.pipelines.generate.marker import Marker, tar_name
from driveforge.pipelines.generate.unit_runs import commit_units
from driveforge.pipelines.generate.units import WorkUnit
from driveforge.pipelines.processes.environment import environment
from tests.object_stores import BUCKET, DiskServer

SETTINGS = ExecutorSettings(
    name="local",
    workers=1,
    address=None,
    max_attempts=3,
    timeout_factor=10.0,
    first_timeout=600.0,
    failure_budget=0.0,
    gpus_per_worker=None,
)
EMPTY_TAR = bytes(10_240)
DONE_SHARE = 0.9


class Units(Sequence[WorkUnit]):
    """The units of a plan, made when they are asked for, like those of a plan that is read line by line."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: Any) -> Any:
        if not 0 <= number < self._count:
            raise IndexError
        return WorkUnit(id=f"unit-{number:06d}", requests=())


class IdleWorker:
    def __init__(self, started: Path) -> None:
        self._started = started

    def make(self, unit: WorkUnit) -> dict[str, Any]:
        if not self._started.exists():
            self._started.write_text(str(time.time()))
        return {"clips": 0}


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    seconds_to_work: float
    seconds: float
    peak_mb: float


def commit_most(root: Path, count: int) -> None:
    """Commit the first units of a plan of ``count`` without syncing each to disk."""
    (root / "_commits").mkdir(parents=True)
    digest = hashlib.sha256(EMPTY_TAR).hexdigest()
    for number in range(int(DONE_SHARE * count)):
        unit = f"unit-{number:06d}"
        name = tar_name(unit, digest)
        (root / name).write_bytes(EMPTY_TAR)
        marker = Marker(unit=unit, tar=name, num_bytes=len(EMPTY_TAR), sha256=digest, num_samples=0, keys=())
        (root / "_commits" / f"{unit}.json").write_bytes(dump_json(asdict(marker)))


def drive(store: Any, count: int, started: Path, results: Any) -> None:
    start, clock = time.time(), time.monotonic()
    commit_units(store, Units(count), partial(IdleWorker, started), SETTINGS)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    results.put(
        Result(seconds_to_work=float(started.read_text()) - start, seconds=time.monotonic() - clock, peak_mb=peak)
    )


def measure(count: int, in_store: bool) -> Result:
    """Resume a plan of ``count`` units in a process of its own."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        store: LocalStore | RemoteStore = LocalStore(Path(folder, "candidates"))
        root = store.folder
        if in_store:
            root = Path(folder, "server", BUCKET, "run", "candidates")
            store = RemoteStore(f"s3://{BUCKET}/run/candidates")
        commit_most(root, count)
        if in_store:
            stack.enter_context(served(Path(folder)))
        process = context.Process(target=drive, args=(store, count, Path(folder, "started"), results))
        process.start()
        result = results.get()
        process.join()
        return result


@contextmanager
def served(folder: Path) -> Iterator[None]:
    server = DiskServer(folder / "server")
    try:
        with environment({**server.environment, "DRIVEFORGE_CACHE": str(folder / "cache")}):
            yield
    finally:
        server.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--store", action="store_true")
    args = parser.parse_args()
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    print("| units | s until work begins | s in all | peak memory of the driver, MB |\n| --- | --- | --- | --- |")
    for count in args.units:
        found = measure(count, args.store)
        print(f"| {count} | {found.seconds_to_work:.1f} | {found.seconds:.1f} | {found.peak_mb:.0f} |", flush=True)


if __name__ == "__main__":
    main()
