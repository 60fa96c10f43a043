"""Block artifacts on vehicles: gray steps across the lines of a grid, compared with those between its lines.

Failures of a video model often show as mismatched cells of its VAE, or as flat blocks. Boxes that are cut by the image
edge are measured too, since failures are most frequent on near vehicles. Both measures use the mean gray steps between
neighboring rows and between neighboring columns inside the box, in the later half of its time in view, since quality
decreases with the distance from the first frame that a model continues.

``object_blockiness``: the grid of codecs, 8 px from the image corner. The ratio of steps across and inside blocks
follows Wang, Bovik and Evans 2000 (doi 10.1109/ICIP.2000.899622). Here the grid is compared with the strongest of its
seven shifts, since edges of windows and bumpers raise the steps of some shift as well.

``object_grid``: any grid. For each period and shift, the log steps of its lines above the median of their neighbors are
averaged without the strongest lines: a single edge raises few lines of a grid, blocks raise all of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from driveforge.datasets.geometry import Array
from driveforge.validation.camera.tracked_view import TrackedView
from driveforge.validation.records import (
    NO_BOXES,
    SMALL_BOXES,
    Measure,
    Sample,
    make_unmeasurable,
    worst_measure,
)
from driveforge.validation.views.boxes import Boxes
from driveforge.validation.views.categories import is_person
from driveforge.validation.views.view import View

# Cells of video VAEs and blocks of H.264 are 8 or 16 px wide.
GRID_PX = 8
MIN_AREA = 0.005  # of the image
MIN_FRAMES = 4
MIN_STEPS = 60  # pixel steps across the lines of each shift
MIN_STEP = 0.5  # gray levels: a lower bound for the steps of flat surfaces
PERIODS = range(6, 25)  # px
MIN_LINES, ENOUGH_LINES = 4, 6  # of a grid; with fewer than enough lines the score is reduced
KEPT_LINES = 0.7  # share of the lines that are averaged: all but the strongest
MIN_LINE_STEPS = 4  # pixel steps in one line
MIN_SPAN = 24  # lines
NEIGHBORHOOD = 9  # lines


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LineSteps:
    """Sums of gray steps and their ``counts`` ``(L,)`` between line n and n + 1: rows or columns of the image."""

    sums: Array
    counts: Array


def block_measures(tracked: TrackedView) -> list[Measure]:
    """The blockiest vehicle, including vehicles that are cut by the image edge."""
    view, boxes = tracked.view, tracked.boxes
    names = ("object_blockiness", "object_grid")
    if boxes is None:
        return [make_unmeasurable(name, view.reason or NO_BOXES) for name in names]
    vehicles = [index for index, track in enumerate(view.tracks) if not is_person(track)]
    samples: dict[str, list[Sample]] = {name: [] for name in names}
    for box_index in vehicles:
        if not (found := _accumulate_steps(view, boxes, box_index)):
            continue
        frames, lines = found
        visibility = float(boxes.visibility[list(frames), box_index].mean())
        for name, value in zip(names, (_codec_grid(lines), _any_grid(lines)), strict=True):
            if value is not None:
                track = view.tracks[box_index].id
                samples[name].append(Sample(value=value, frames=frames, track=track, visibility=visibility))
    return [worst_measure(name, samples[name], SMALL_BOXES if vehicles else NO_BOXES) for name in names]


def _accumulate_steps(
    view: View, boxes: Boxes, box_index: int
) -> tuple[tuple[int, int], tuple[LineSteps, LineSteps]] | None:
    """First and last frame of the later half of the time in view, and the steps between rows and between columns."""
    inside = dict(_large_masks(view, boxes, box_index))
    if len(inside) < MIN_FRAMES:
        return None
    later = sorted(inside)[len(inside) // 2 :]
    totals = []
    for axis in (0, 1):
        parts = [_line_steps(np.swapaxes(view.gray[t], 0, axis), np.swapaxes(inside[t], 0, axis)) for t in later]
        sums, counts = (np.sum([getattr(part, name) for part in parts], axis=0) for name in ("sums", "counts"))
        totals.append(LineSteps(sums=sums, counts=counts))
    return (later[0], later[-1]), (totals[0], totals[1])


def _large_masks(view: View, boxes: Boxes, box_index: int) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    for t, gray in enumerate(view.gray):
        if boxes.hulls[t][box_index] is not None:
            inside = boxes.track_mask(t, box_index, (gray.shape[0], gray.shape[1])) > 0
            if inside.mean() >= MIN_AREA:
                yield t, inside


def _line_steps(gray: NDArray[np.uint8], inside: NDArray[np.bool_]) -> LineSteps:
    steps, both = np.abs(np.diff(gray.astype(np.float32), axis=0)), inside[1:] & inside[:-1]
    return LineSteps(sums=(steps * both).sum(1, dtype=np.float64), counts=both.sum(1).astype(np.float64))


def _codec_grid(lines: tuple[LineSteps, LineSteps]) -> float | None:
    """Mean gray step across the grid lines over that of the strongest shift; None with too few steps."""
    found = np.zeros((2, GRID_PX))
    for line in lines:
        # Step n is between rows n and n + 1, so the first line of the grid is step 7.
        shift = np.arange(1, len(line.sums) + 1) % GRID_PX
        np.add.at(found[0], shift, line.sums)
        np.add.at(found[1], shift, line.counts)
    if found[1].min() < MIN_STEPS:
        return None
    mean = found[0] / found[1]
    return float(mean[0] / max(mean[1:].max(), MIN_STEP))


def _any_grid(lines: tuple[LineSteps, LineSteps]) -> float | None:
    """The score of the strongest grid, the mean over rows and columns; None if the vehicle is too small."""
    scores = [score for line in lines if (score := _grid_score(line)) is not None]
    return float(np.mean(scores)) if scores else None


def _grid_score(lines: LineSteps) -> float | None:
    known = np.flatnonzero(lines.counts >= MIN_LINE_STEPS)
    if len(known) < MIN_SPAN:
        return None
    span = slice(known[0], known[-1] + 1)
    log_steps = np.log1p(lines.sums[span] / np.maximum(lines.counts[span], 1))
    excess = log_steps - median_filter(log_steps, NEIGHBORHOOD, mode="nearest")
    scores = [
        _grid_excess(excess[shift::period])
        for period in PERIODS
        for shift in range(period)
        if len(excess[shift::period]) >= MIN_LINES
    ]
    return max(0.0, *scores) if scores else None


def _grid_excess(excess: Array) -> float:
    kept = np.sort(excess)[: int(np.ceil(KEPT_LINES * len(excess)))]
    return float(kept.mean() * min(1.0, np.sqrt(len(excess) / ENOUGH_LINES)))
