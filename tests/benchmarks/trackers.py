"""Time of ``measure`` against one pass of CoTracker3, on one core: ``python -m tests.benchmarks.trackers``.

Both process the same simulated clip of 24 frames at 256 x 448, in turn. Ours is ``measure(clip)``: point tracks of
background and objects, and all measures. CoTracker3 is the authors' offline predictor (github.com/facebookresearch/
co-tracker, installed or on PYTHONPATH) on a grid of 10 x 10 query points of the first frame, at its default size of
384 x 512 px with six iterations, without any measure. It has random weights, which cost the same.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np
import torch

from driveforge.validation.measures import measure
from driveforge.validation.point_tracking.cotracker import untrained_predictor
from driveforge.validation.point_tracking.tracks import track_view
from driveforge.validation.views.boxes import project_boxes
from driveforge.validation.views.view import reference_view
from tests.benchmarks.measure_speed import simulated_clips

GRID = 10
TARGET = 10.0


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of this process, which other processes do not affect."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    clip = simulated_clips(256, 448, 1, num_frames=24)[0]
    view, predictor = reference_view(clip), untrained_predictor()
    video = torch.from_numpy(np.ascontiguousarray(view.frames.transpose(0, 3, 1, 2)))[None].float()
    tracks = track_view(view, project_boxes(view))
    num_points = sum(len(window.box_index) for window in (*tracks.background, *tracks.objects))
    measure(clip)
    ours, theirs = [], []
    for _ in range(args.rounds):
        ours.append(seconds(lambda: measure(clip)))
        theirs.append(seconds(lambda: predictor(video, grid_size=GRID)))
        print(f"ours {ours[-1]:.3f} s, CoTracker3 {theirs[-1]:.1f} s", flush=True)
    ours_median, theirs_median = statistics.median(ours), statistics.median(theirs)
    ratio = theirs_median / ours_median
    print(f"{ratio:.0f} times as fast, target {TARGET:g}; medians of {args.rounds} rounds, CPU seconds:")
    print(
        f"ours {ours_median:.3f}, {num_points} points in windows; CoTracker3 {theirs_median:.1f}, {GRID * GRID} points"
    )


if __name__ == "__main__":
    main()
