"""Time and memory of plans: ``python -m tests.benchmarks.plan_memory [--counts N N ...]``.

Each plan is made and read in a process of its own: planned from 50 simulated scenes and 8 edits, written, indexed, and
every unit parsed. ``resume`` is what a later run does before it begins work: it finds that the plan is current.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.generate.edits import parse_edits
from driveforge.pipelines.generate.plan.planner import plan_entries
from driveforge.pipelines.generate.requests import PlannedRequest
from driveforge.pipelines.generate.settings import GenerateSettings
from driveforge.pipelines.generate.units import open_or_create_plan, read_plan
from tests.pipelines.scenes import driving_scene
from tests.pipelines.small_plans import stored_inputs

EDITS = "[as-recorded, slower, dusk, {edit: slow, factor: [0.5, 0.7]}, {edit: brake, deceleration: [2, 4]}, shift-left]"
CLIPS_PER_UNIT = 4


def settings(num_clips: int) -> GenerateSettings:
    edits = parse_edits(EDITS, "edits")
    return replace(compose().generate, num_clips=num_clips, clips_per_unit=CLIPS_PER_UNIT, edits=edits)


def make(root: Path, num_clips: int) -> None:
    scenes = [driving_scene(f"scene-{i:02d}", num_frames=17, speed=12, yaw_rate=0.01 * i) for i in range(50)]

    def requests() -> Iterator[PlannedRequest]:
        yield from (entry for entry, _ in plan_entries(scenes, stored_inputs(root), settings(num_clips), "model"))

    open_or_create_plan(root, requests(), CLIPS_PER_UNIT)


def read(root: Path) -> int:
    """The number of clips of the plan, with every unit parsed."""
    return sum(len(unit.clip_ids) for unit in read_plan(root).units)


def make_and_read(root: Path, num_clips: int) -> bool:
    make(root, num_clips)
    return read(root) == num_clips


def measure(num_clips: int, folder: Path) -> dict[str, float]:
    started = time.perf_counter()
    make(folder, num_clips)
    made = time.perf_counter()
    read_plan(folder)
    indexed = time.perf_counter()
    assert read(folder) == num_clips
    return {
        "clips": num_clips,
        "plan, s": made - started,
        "open, s": indexed - made,
        "parse all units, s": time.perf_counter() - indexed,
        "plan file, MB": (folder / "plan.jsonl").stat().st_size / 1e6,
        "peak memory, MiB": getrusage(RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="*", default=[1_000, 100_000, 1_000_000])
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measure(args.one, Path(folder) / "candidates")))
        return
    for count in args.counts:
        command = [sys.executable, "-m", "tests.benchmarks.plan_memory", "--one", str(count)]
        row = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
        print("  ".join(f"{name}: {value:,.1f}" for name, value in row.items()))


if __name__ == "__main__":
    main()
