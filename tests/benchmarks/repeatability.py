"""Byte-identical generation: ``python -m tests.benchmarks.repeatability OUT [--runs N]``.

Generates the same small plan with the shipped model in fresh processes, alternating between local and Ray, with
different hash seeds, contents of uninitialized memory and numbers of threads in the environment. Prints every unit that
differs from the first run and keeps its tar in OUT; exit status 1 if any differs.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from driveforge.pipelines.generate.commit import CommitLog
from driveforge.pipelines.generate.marker import Marker


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--clips", type=int, default=8, help="clips of the plan, two per unit")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="no new run starts after this time")
    parser.add_argument("--executors", nargs="+", default=["local", "ray"])
    args = parser.parse_args()
    start, differing = time.monotonic(), 0
    first: list[Marker] = []
    for number in range(args.runs):
        if time.monotonic() - start > args.seconds:
            break
        executor = args.executors[number % len(args.executors)]
        run_dir = args.out / f"run-{number:02d}"
        made = make(run_dir, executor, args.clips, args.rows, number)
        first = first or made
        others = [marker for marker, expected in zip(made, first, strict=True) if marker.sha256 != expected.sha256]
        differing += len(others)
        text = ", ".join(f"{marker.unit} {marker.sha256[:8]}" for marker in others) or "none differs"
        print(f"run {number} ({executor}, {time.monotonic() - start:.0f} s): {len(made)} units, {text}", flush=True)
        if not others and number:
            shutil.rmtree(run_dir)
    print(f"{differing} units differ")
    return 1 if differing else 0


def make(run_dir: Path, executor: str, clips: int, rows: int, number: int) -> list[Marker]:
    """Generate in a new process; returns the markers."""
    settings = [
        f"run_dir={run_dir}",
        f"executor={executor}",
        f"executor.workers={1 + number // 2 % 2}",
        f"generate.num_clips={clips}",
        "generate.clips_per_unit=2",
        f"data.num_scenes={clips}",
        f"data.height={rows}",
        f"data.width={rows * 5 // 3 // 16 * 16}",
    ]
    command = [sys.executable, "-m", "driveforge.pipelines.cli", "generate", *settings]
    environment = {**os.environ, "PYTHONHASHSEED": str(number), "MALLOC_PERTURB_": str(number % 256)}
    environment |= {"OPENBLAS_NUM_THREADS": str(1 + number % 3), "OMP_NUM_THREADS": str(1 + number % 2)}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    return CommitLog(run_dir / "candidates").read_markers()


if __name__ == "__main__":
    sys.exit(main())
