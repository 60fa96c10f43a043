"""Generation on two Ray workers against a bare loop: ``python -m tests.benchmarks.ray_generation [--seconds S]``.

A fake generator keeps one core busy with a fixed amount of hashing per clip. Both sides generate, measure and pack on
one thread; the workers also commit. Two plans of different sizes separate the start-up time from the rate.
"""

import argparse
import hashlib
import tempfile
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.scene import Clip, Scene
from driveforge.finetune.world_model.sampler_settings import SamplerSettings
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.generate.command import generate
from driveforge.pipelines.generate.plan.planner import plan_entries
from driveforge.pipelines.generate.requests import FIRST_FRAMES_FOLDER, Request, load_first_frames
from driveforge.pipelines.generate.units import GenerationPlan, open_or_create_plan
from driveforge.pipelines.generate.worker import candidate_members
from tests.pipelines.generators import FakeGenerator
from tests.pipelines.scenes import driving_scene
from tests.pipelines.small_plans import stored_inputs

WORKERS = 2
CLIPS_PER_UNIT = 2


class BusyGenerator(FakeGenerator):
    """The fake generator, after ``rounds`` of hashing."""

    def __init__(self, rounds: int) -> None:
        super().__init__()
        self._rounds = rounds

    def generate(
        self, scene: Scene, first_frames: NDArray[np.uint8] | None, *, seed: int, settings: SamplerSettings
    ) -> Clip:
        hashlib.pbkdf2_hmac("sha256", b"clip", b"salt", self._rounds)
        return super().generate(scene, first_frames, seed=seed, settings=settings)


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    clips: int
    seconds: float


def rounds_for(seconds: float) -> int:
    rounds, start = 200_000, time.perf_counter()
    hashlib.pbkdf2_hmac("sha256", b"clip", b"salt", rounds)
    return max(1, round(seconds * rounds / (time.perf_counter() - start)))


def plan_at(root: Path, num_clips: int) -> GenerationPlan:
    scenes = [driving_scene(f"scene-{i}", num_frames=17, yaw_rate=0.02 * i) for i in range(4)]
    shipped = compose([]).generate
    settings = replace(shipped, num_clips=num_clips, clips_per_unit=CLIPS_PER_UNIT, edits=("as-recorded", "slower"))
    planned = plan_entries(scenes, stored_inputs(root), settings, "fake-1")
    return open_or_create_plan(root, (entry for entry, _ in planned), CLIPS_PER_UNIT)


def time_bare_loop(root: Path, requests: list[Request], rounds: int) -> Timing:
    generator = BusyGenerator(rounds)
    start = time.perf_counter()
    for request in requests:
        first = load_first_frames(root / FIRST_FRAMES_FOLDER, request.first_frames)
        clip = generator.generate(request.scene, first, seed=request.seed, settings=request.settings)
        candidate_members(request, clip)
    return Timing(clips=len(requests), seconds=time.perf_counter() - start)


def time_ray(num_clips: int, rounds: int) -> Timing:
    executor = compose(["executor=ray", f"executor.workers={WORKERS}", "executor.max_attempts=1"]).executor
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        plan = plan_at(root, num_clips)
        start = time.perf_counter()
        summary = generate(root, plan, partial(BusyGenerator, rounds), executor)
        assert summary.num_made == num_clips
        return Timing(clips=num_clips, seconds=time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="of hashing per clip")
    parser.add_argument("--clips", type=int, default=24)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    rounds = rounds_for(args.seconds)
    with tempfile.TemporaryDirectory() as folder:
        requests = [request for unit in plan_at(Path(folder), args.clips // 2).units for request in unit.requests]
        time_bare_loop(Path(folder), requests[:1], rounds)
        bare = time_bare_loop(Path(folder), requests, rounds)
    few, many = time_ray(args.clips // 3, rounds), time_ray(args.clips + args.clips // 3, rounds)
    rate = (many.clips - few.clips) / (many.seconds - few.seconds)
    bare_rate = bare.clips / bare.seconds
    print(f"bare loop, one process      {bare_rate:7.3f} clips/s")
    print(f"Ray, {WORKERS} workers              {rate:7.3f} clips/s without start-up")
    print(f"of ideal ({WORKERS} x the loop)     {rate / (WORKERS * bare_rate):7.3f}")
    print(f"start-up and shut-down      {few.seconds - few.clips / rate:7.3f} s")


if __name__ == "__main__":
    main()
