"""Blockiness of a vehicle: gray steps across the lines of a block grid, compared with those across shifted grids.

Failures of a video model often show as mismatched cells of its VAE. Boxes that are cut by the image edge are measured
too, since failures are most frequent on near vehicles. The ratio of steps across and inside blocks follows Wang, Bovik
and Evans 2000 (doi 10.1109/ICIP.2000.899622). Here the grid is compared with the strongest of its seven shifts, since
edges of windows and bumpers raise the steps of some shift as well.
"""

import numpy as np

from driveforge.datasets.geometry import Array
from driveforge.validation.records import Sample
from driveforge.validation.views.boxes import Boxes
from driveforge.validation.views.view import View

# Cells of video VAEs and blocks of H.264 are 8 or 16 px wide.
GRID_PX = 8
MIN_AREA = 0.005  # of the image
MIN_FRAMES = 4
MIN_STEPS = 60  # pixel steps across the lines of each shift
MIN_STEP = 0.5  # gray levels: a lower bound for the steps of flat surfaces


def blockiness(view: View, boxes: Boxes, track: int) -> Sample | None:
    """Mean gray step across the grid lines over that of the strongest shift, in the later half of the time in view.

    The later half, since quality decreases with the distance from the first frame that a model continues.
    """
    steps = {t: found for t in range(len(view.gray)) if (found := _steps(view, boxes, t, track)) is not None}
    if len(steps) < MIN_FRAMES:
        return None
    later = sorted(steps)[len(steps) // 2 :]
    total, number = np.sum([steps[t] for t in later], axis=0)
    if number.min() < MIN_STEPS:
        return None
    mean = total / number
    return Sample(value=float(mean[0] / max(mean[1:].max(), MIN_STEP)), frames=(later[0], later[-1]))


def _steps(view: View, boxes: Boxes, frame: int, track: int) -> Array | None:
    """Sums and counts ``(2, GRID_PX)`` of gray steps by distance from a grid line; None if the object is too small."""
    if boxes.hulls[frame][track] is None:
        return None
    gray = view.gray[frame].astype(np.float32)
    inside = boxes.track_mask(frame, track, (gray.shape[0], gray.shape[1])) > 0
    if inside.mean() < MIN_AREA:
        return None
    found = np.zeros((2, GRID_PX))
    for image, mask in ((gray, inside), (gray.T, inside.T)):
        steps, both = np.abs(np.diff(image, axis=0)), mask[1:] & mask[:-1]
        # Step n is between rows n and n + 1, so the first line of the grid is step 7.
        shift = np.arange(1, len(image)) % GRID_PX
        np.add.at(found[0], shift, (steps * both).sum(1))
        np.add.at(found[1], shift, both.sum(1))
    return found
