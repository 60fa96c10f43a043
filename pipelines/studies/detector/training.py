"""Training of the detector: focal loss of the heat map of centers, and the overlap of boxes.

Sources: Zhou, Wang and Krähenbühl, "Objects as points" (2019), arXiv 1904.07850; Rezatofighi et al., "Generalized
intersection over union" (CVPR 2019); the weight of sides around a center is that of Liu et al., "Training-time-friendly
network for real-time object detection" (AAAI 2020), arXiv 1909.00700.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from driveforge.datasets.progress import track
from driveforge.pipelines.studies.detector.augmentation import change
from driveforge.pipelines.studies.detector.images import LabeledImage
from driveforge.pipelines.studies.detector.network import NUM_LABELS, STRIDE, DetectorNetwork, boxes_of

SPREAD = 0.16  # deviation of the peak of an object in the heat map, of the sides of its box
BOX_WEIGHT = 2.0  # of the loss of boxes
WARM_UP_SHARE, WEIGHT_DECAY, MAX_GRADIENT = 0.05, 1e-4, 10.0
EMA_DECAY = 0.995
CURVE_STEPS = 25  # steps in a row of the curve


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedDetector:
    """The averaged weights, and the mean loss of every ``CURVE_STEPS`` steps: (step, loss)."""

    network: DetectorNetwork
    curve: tuple[tuple[int, float], ...]
    seconds: float


def train(
    images: Sequence[LabeledImage], *, steps: int, batch_rows: int, learning_rate: float, seed: int
) -> TrainedDetector:
    """Train on ``images``; all images of a step have the same size. Deterministic on one machine."""
    torch.manual_seed(seed)
    start = time.process_time()
    network = DetectorNetwork().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(EMA_DECAY), use_buffers=True)  # type: ignore[no-untyped-call]
    optimizer = torch.optim.AdamW(network.parameters(), learning_rate, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(rate, steps))
    curve, recent = [], []
    batches = _batches(images, steps, batch_rows, np.random.default_rng(seed))
    for step, batch in enumerate(track(batches, "Training", steps), 1):
        loss = detector_loss(network, batch)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), MAX_GRADIENT)
        optimizer.step()
        schedule.step()
        averaged.update_parameters(network)
        recent.append(loss.item())
        if len(recent) == CURVE_STEPS or step == steps:
            curve.append((step, float(np.mean(recent))))
            recent = []
    seconds = time.process_time() - start
    return TrainedDetector(network=cast(DetectorNetwork, averaged.module), curve=tuple(curve), seconds=seconds)


def rate(steps: int, step: int) -> float:
    """The factor on the learning rate: a linear warm-up and a cosine to 0."""
    return min(1.0, (step + 1) / (WARM_UP_SHARE * steps)) * (1 + math.cos(math.pi * step / steps)) / 2


def detector_loss(network: DetectorNetwork, batch: Sequence[LabeledImage]) -> Tensor:
    """The loss of images of one size."""
    logits, sides = network(to_tensor([one.image for one in batch]))
    return detection_loss(logits, sides, batch)


def to_tensor(images: Sequence[NDArray[np.uint8]]) -> Tensor:
    """Images ``(H, W, 3)`` of one size as ``(B, 3, H, W)`` in 0..1, as the network wants them."""
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    return pixels.contiguous(memory_format=torch.channels_last)


def detection_loss(logits: Tensor, sides: Tensor, batch: Sequence[LabeledImage]) -> Tensor:
    """The loss of the network's outputs for images of one size."""
    targets = [make_targets(one, (logits.shape[2], logits.shape[3])) for one in batch]
    heat, weights, boxes = (torch.from_numpy(np.stack(arrays)) for arrays in zip(*targets, strict=True))
    is_center = heat == 1
    count = is_center.sum().clamp(min=1)
    score = logits.sigmoid()
    positive = -functional.logsigmoid(logits) * (1 - score) ** 2 * is_center
    negative = -functional.logsigmoid(-logits) * score**2 * (1 - heat) ** 4
    overlap_loss = (weights * _generalized_iou_loss(boxes_of(sides), boxes)).sum() / weights.sum().clamp(min=1e-6)
    loss: Tensor = (positive + negative).sum() / count + BOX_WEIGHT * overlap_loss
    return loss


def make_targets(
    one: LabeledImage, shape: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Heat map ``(2, h, w)``, weights of boxes ``(h, w)`` and boxes ``(4, h, w)`` px of an image with h x w cells.

    Every cell belongs to the object of which it is nearest to the center, relative to its size.
    """
    heat = np.zeros((NUM_LABELS, *shape), np.float32)
    weights, boxes = np.zeros(shape, np.float32), np.zeros((4, *shape), np.float32)
    columns, rows = np.arange(shape[1]), np.arange(shape[0])[:, None]
    for box, label in zip(one.boxes, one.labels, strict=True):
        x, y = (box[:2] + box[2:]) / 2 / STRIDE - 0.5
        spread = np.maximum(SPREAD * (box[2:] - box[:2]) / STRIDE, 0.35)
        x, y = round(min(max(x, 0), shape[1] - 1)), round(min(max(y, 0), shape[0] - 1))
        peak = np.exp(-(((columns - x) / spread[0]) ** 2 + ((rows - y) / spread[1]) ** 2) / 2).astype(np.float32)
        heat[label] = np.maximum(heat[label], peak)
        # An object has the same weight whatever its size.
        weight = np.where(peak > 0.3, peak, 0) / np.sqrt(peak.sum())
        nearer = weight > weights
        weights[nearer] = weight[nearer]
        boxes[:, nearer] = box[:, None]
    return heat, weights, boxes


def _generalized_iou_loss(found: Tensor, boxes: Tensor) -> Tensor:
    """1 - generalized IoU ``(B, h, w)`` of boxes ``(B, 4, h, w)``."""
    low, high = torch.maximum(found[:, :2], boxes[:, :2]), torch.minimum(found[:, 2:], boxes[:, 2:])
    common = (high - low).clamp(min=0).prod(1)
    areas = [(one[:, 2:] - one[:, :2]).clamp(min=1e-3).prod(1) for one in (found, boxes)]
    union = areas[0] + areas[1] - common
    outer = torch.maximum(found[:, 2:], boxes[:, 2:]) - torch.minimum(found[:, :2], boxes[:, :2])
    hull = outer.clamp(min=1e-3).prod(1)
    return 1 - common / union + (hull - union) / hull


def _batches(
    images: Sequence[LabeledImage], steps: int, batch_rows: int, rng: np.random.Generator
) -> Iterator[list[LabeledImage]]:
    """Batches of changed images with ``batch_rows`` rows together; each size of images equally often in turn."""
    by_rows: dict[int, list[LabeledImage]] = {}
    for one in images:
        by_rows.setdefault(len(one.image), []).append(one)
    sizes = sorted(by_rows)
    for step in range(steps):
        rows = sizes[step % len(sizes)]
        chosen = rng.integers(len(by_rows[rows]), size=max(batch_rows // rows, 1))
        yield [change(by_rows[rows][int(number)], rng) for number in chosen]
