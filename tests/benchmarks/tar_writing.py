"""Speed of writing shards: ``python -m tests.benchmarks.tar_writing``.

Ours syncs, lists and hashes the tar; it is compared with a bare ``webdataset.TarWriter`` on the same samples, and with
one that is followed by the same checks.
"""

import hashlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from webdataset import TarWriter

from driveforge.datasets.webdataset_shards.tarball import write_tar

NUM_SAMPLES, VIDEO_BYTES, REPEATS = 256, 1_000_000, 9

Samples = list[tuple[str, dict[str, bytes]]]


def make_samples() -> Samples:
    """Samples with members as large as those of a clip of 256 x 448."""
    rng = np.random.default_rng(0)
    sizes = {"json": 8_000, "cam_front.mp4": VIDEO_BYTES, "poses.npy": 2_304, "tracks.npz": 20_000, "thumb.jpg": 15_000}
    return [(f"clip-{i:04d}", {name: rng.bytes(size) for name, size in sizes.items()}) for i in range(NUM_SAMPLES)]


def write_bare(path: Path, samples: Samples) -> None:
    with TarWriter(str(path), encoder=False) as tar:
        for key, members in samples:
            tar.write({"__key__": key, **members})


def write_bare_synced(path: Path, samples: Samples) -> None:
    """What a careful user of ``TarWriter`` does: sync, read back and hash."""
    write_bare(path, samples)
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        hashlib.file_digest(file, "sha256")


def measure(write: Callable[[Path, Samples], object], samples: Samples, path: Path) -> tuple[float, float]:
    """Seconds of wall time, and of CPU time of all threads."""
    wall, cpu = time.perf_counter(), time.process_time()
    write(path, samples)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    path.unlink()
    return wall, cpu


def main() -> None:
    samples = make_samples()
    megabytes = sum(len(content) for _, members in samples for content in members.values()) / 1e6
    writers = {"bare TarWriter": write_bare, "with fsync and sha256": write_bare_synced, "ours": write_tar}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in writers}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(REPEATS):  # in turn, so that other load of the machine meets all of them
            for name, write in writers.items():
                times[name].append(measure(write, samples, Path(folder) / "a.tar"))
    print(f"{NUM_SAMPLES} samples, {megabytes:.0f} MB, medians of {REPEATS}, load {os.getloadavg()[0]:.1f}")
    for name, values in times.items():
        ratios = [bare / own for (bare, _), (own, _) in zip(times["bare TarWriter"], values, strict=True)]
        wall, cpu = (statistics.median(column) for column in zip(*values, strict=True))
        speed, ratio = megabytes / wall, statistics.median(ratios)
        print(f"{name:24} {speed:6.0f} MB/s, {cpu:.2f} CPU-seconds, {ratio:.2f} of the speed of bare")


if __name__ == "__main__":
    main()
