"""Speed of writing shards: ``python -m tests.benchmarks.tar_writing``.

Ours syncs, reads back and hashes the tar; it is compared with a bare ``webdataset.TarWriter`` on the same samples.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from webdataset import TarWriter

from driveforge.datasets.webdataset_shards.tarball import write_tar

NUM_SAMPLES, VIDEO_BYTES, REPEATS = 256, 1_000_000, 5

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


def seconds(write: Callable[[Path, Samples], object], samples: Samples, folder: Path) -> float:
    times = []
    for repeat in range(REPEATS):
        path = folder / f"{repeat}.tar"
        start = time.perf_counter()
        write(path, samples)
        times.append(time.perf_counter() - start)
        path.unlink()
    return statistics.median(times)


def main() -> None:
    samples = make_samples()
    megabytes = sum(len(content) for _, members in samples for content in members.values()) / 1e6
    with tempfile.TemporaryDirectory() as folder:
        bare = seconds(write_bare, samples, Path(folder))
        ours = seconds(write_tar, samples, Path(folder))
    print(f"{NUM_SAMPLES} samples, {megabytes:.0f} MB, median of {REPEATS}")
    print(f"bare TarWriter               {megabytes / bare:7.0f} MB/s")
    print(f"ours: fsync, reopen, sha256  {megabytes / ours:7.0f} MB/s")
    print(f"ratio of times               {ours / bare:7.2f}")


if __name__ == "__main__":
    main()
