"""Evaluation of a network on the test drives."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from driveforge.datasets.geometry import Array
from driveforge.pipelines.studies.detector.network import find_peaks
from driveforge.pipelines.studies.detector.training import to_tensor
from driveforge.pipelines.studies.downstream.average_precision import (
    CLASSES,
    FALSE,
    TYPICAL_M,
    Detections,
    detection_precision,
    lane_precision,
    match,
    resample,
)
from driveforge.pipelines.studies.downstream.labels import LINE, UNKNOWN, LabeledFrame
from driveforge.pipelines.studies.downstream.networks import PerceptionNetwork, lane_cells

RESAMPLES = 200
MIN_SCORE = 0.02
BINS = 64  # of the probability of lane cells
OBJECTS, LANES = "objects", "lanes"
MAIN_METRICS = (*CLASSES, LANES)


def evaluate(network: PerceptionNetwork, clips: Sequence[Sequence[LabeledFrame]], focal: float) -> dict[str, Array]:
    """All metrics on the frames of test clips: the value, then those of ``RESAMPLES`` bootstrap resamples of the clips.

    ``focal`` is the focal length of the camera, px. "objects" is the mean of the classes.
    """
    weights = resample(len(clips), RESAMPLES)
    detections, objects = [], []
    histograms = np.zeros((2, len(clips), BINS))
    for number, frames in enumerate(clips):
        for frame in frames:
            boxes, scores, labels, lanes = _infer(network, frame)
            detections += list(_match_frame(frame, boxes, scores, labels, focal, number))
            objects += [(frame.labels[n], frame.distances[n], number) for n in np.flatnonzero(frame.clear)]
            histograms[:, number] += _lane_histograms(frame, lanes)
    metrics = detection_precision(_columns(detections, objects), weights)
    metrics[OBJECTS] = np.mean([metrics[name] for name in CLASSES], axis=0)
    metrics[LANES] = lane_precision(histograms[0], histograms[1], weights)
    return metrics


@torch.no_grad()
def _infer(
    network: PerceptionNetwork, frame: LabeledFrame
) -> tuple[Array, Array, NDArray[np.int64], NDArray[np.float32]]:
    """Boxes ``(D, 4)`` px, scores and labels ``(D,)``, best first, and the probability of lanes ``(h, w)``."""
    logits, sides, lanes = network(to_tensor([frame.image]))
    boxes, scores, labels = (found.double().numpy() for found in find_peaks(logits, sides))
    kept = scores > MIN_SCORE
    return boxes[kept], scores[kept], labels[kept].astype(np.int64), lanes[0].sigmoid().numpy()


def _match_frame(
    frame: LabeledFrame, boxes: Array, scores: Array, labels: NDArray[np.int64], focal: float, number: int
) -> Iterator[tuple[float, int, int, float, int]]:
    """Score, label, outcome, distance and clip of each detection."""
    rows, columns = frame.image.shape[:2]
    boxes = boxes.clip(0, np.array([columns, rows] * 2) - 1.0)
    outcomes, matched = match(boxes, labels, frame.boxes.astype(np.float64), frame.labels, frame.clear)
    for box, score, label, outcome, n in zip(boxes, scores, labels, outcomes, matched, strict=True):
        estimate = focal * TYPICAL_M / max(box[3] - box[1], 1.0)
        distance = estimate if outcome == FALSE else frame.distances[n]
        yield float(score), int(label), int(outcome), float(distance), number


def _lane_histograms(frame: LabeledFrame, lanes: NDArray[np.float32]) -> NDArray[np.int64]:
    """Histograms ``(2, BINS)`` of the probability of cells on and off lane lines."""
    cells = lane_cells(frame.lanes)
    bins = np.minimum((lanes * BINS).astype(np.int64), BINS - 1)
    on_line, off_line = bins[cells == LINE], bins[(cells != LINE) & (cells != UNKNOWN)]
    return np.stack([np.bincount(part, minlength=BINS) for part in (on_line, off_line)])


def _columns(
    detections: Sequence[tuple[float, int, int, float, int]], objects: Sequence[tuple[int, float, int]]
) -> Detections:
    found = np.array(detections, np.float64).reshape(-1, 5).T
    counted = np.array(objects, np.float64).reshape(-1, 3).T
    return Detections(
        score=found[0],
        label=found[1].astype(np.int64),
        outcome=found[2].astype(np.int64),
        distance=found[3],
        clip=found[4].astype(np.int64),
        object_label=counted[0].astype(np.int64),
        object_distance=counted[1],
        object_clip=counted[2].astype(np.int64),
    )
