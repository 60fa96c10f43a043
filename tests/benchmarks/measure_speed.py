"""Speed of ``measure`` in one process: ``python -m tests.benchmarks.measure_speed [--clips N]``.

Measures clips of the simulated world at the default size and at 256 x 448, which are rendered beforehand.
"""

import argparse
import time

import cv2

from driveforge.datasets.scene import Clip
from driveforge.datasets.simulated_source import SimulatedSource
from driveforge.validation.measures import measure
from tests.defaults import simulation_config

SIZES = ((96, 160), (256, 448))


def simulated_clips(height: int, width: int, count: int, num_frames: int = 17) -> list[Clip]:
    source = SimulatedSource(
        simulation_config(domains=("driving-day",), num_scenes=count, height=height, width=width, num_frames=num_frames)
    )
    return [source.load(scene) for scene in source.scenes()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=12)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    for height, width in SIZES:
        clips = simulated_clips(height, width, args.clips)
        measure(clips[0])
        start = time.perf_counter()
        for clip in clips:
            measure(clip)
        seconds = time.perf_counter() - start
        frames = clips[0].scene.num_frames
        print(f"{height} x {width}, {frames} frames: {len(clips) / seconds:6.2f} clips/s")


if __name__ == "__main__":
    main()
