"""Measuring a whole clip against one CoTracker3 pass over it, on one core: ``python -m tests.benchmarks.trackers``.

The same simulated clip of 24 frames at 256 x 448 for both, in turn. Ours is ``measure(clip)``: tracks of background and
objects, pose, scale, objects, time. CoTracker3's is the authors' offline predictor (github.com/facebookresearch/
co-tracker, installed or on PYTHONPATH) on a grid of 10 x 10 points of the first frame, at the 384 x 512 px and with
the six iterations that it takes by default, and nothing is measured on what it followed. Random weights cost the same.
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
from tests.benchmarks.measuring import clips_at

GRID = 10
WANTED = 10.0


def seconds(work: Callable[[], object]) -> float:
    """Of this process's own CPU time, which other programs on the machine do not stretch."""
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    clip = clips_at(256, 448, 1, num_frames=24)[0]
    view, predictor = reference_view(clip), untrained_predictor()
    video = torch.from_numpy(np.ascontiguousarray(view.frames.transpose(0, 3, 1, 2)))[None].float()
    tracks = track_view(view, project_boxes(view))
    followed = sum(len(window.box_index) for window in (*tracks.background, *tracks.objects))
    measure(clip)
    ours, theirs = [], []
    for _ in range(args.rounds):
        ours.append(seconds(lambda: measure(clip)))
        theirs.append(seconds(lambda: predictor(video, grid_size=GRID)))
        print(f"ours {ours[-1]:.3f} s, CoTracker3 {theirs[-1]:.1f} s", flush=True)
    mine, other = statistics.median(ours), statistics.median(theirs)
    print(f"{other / mine:.0f} times as fast, wanted {WANTED:g}; medians of {args.rounds} rounds, CPU seconds:")
    print(f"ours {mine:.3f}, {followed} points in windows; CoTracker3 {other:.1f}, {GRID * GRID} points")


if __name__ == "__main__":
    main()
