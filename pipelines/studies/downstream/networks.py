"""The networks of the study: the detector with a lane head on its features, trained on real and added frames."""

from collections.abc import Iterator, Sequence
from functools import partial

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from driveforge.pipelines.studies.detector.augmentation import move_image, move_labels, recolor, sample_move
from driveforge.pipelines.studies.detector.images import LabeledImage
from driveforge.pipelines.studies.detector.network import CHANNELS, STRIDE, DetectorNetwork
from driveforge.pipelines.studies.detector.training import (
    MAX_GRADIENT,
    WEIGHT_DECAY,
    detection_loss,
    rate,
    to_tensor,
)
from driveforge.pipelines.studies.downstream.labels import LINE, UNKNOWN, LabeledFrame

LANE_WEIGHT = 2.0  # of the loss of lanes


class PerceptionNetwork(nn.Module):
    """From images ``(B, 3, H, W)`` in 0..1 to the outputs of the detector and lane logits ``(B, h, w)``."""

    def __init__(self) -> None:
        super().__init__()
        self.detector = DetectorNetwork()
        self.lanes = nn.Conv2d(CHANNELS[1], 1, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features = self.detector.features(images)
        return (*self.detector.detect(features), self.lanes(features)[:, 0])


def train_network(
    real: Sequence[LabeledFrame],
    added: Sequence[LabeledFrame],
    *,
    share: float,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
) -> PerceptionNetwork:
    """Train on ``real`` frames and, with the probability ``share``, on ``added`` ones. Deterministic on one machine."""
    torch.manual_seed(seed)
    network = PerceptionNetwork().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), learning_rate, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(rate, steps))
    for batch, lanes in _batches(real, added, share if added else 0.0, steps, batch_size, np.random.default_rng(seed)):
        logits, sides, lane_logits = network(to_tensor([one.image for one in batch]))
        loss = detection_loss(logits, sides, batch) + LANE_WEIGHT * lane_loss(lane_logits, torch.from_numpy(lanes))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), MAX_GRADIENT)
        optimizer.step()
        schedule.step()
    return network.eval()  # type: ignore[no-any-return]


def lane_loss(logits: Tensor, cells: Tensor) -> Tensor:
    """The cross-entropy of cells ``(B, h, w)`` uint8 that are known."""
    losses = functional.binary_cross_entropy_with_logits(logits, (cells == LINE).float(), reduction="none")
    known = cells != UNKNOWN
    return (losses * known).sum() / known.sum().clamp(min=1)


def lane_cells(lanes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The lane mask ``(H, W)`` by cells of the network ``(h, w)``: unknown if any pixel is, else line if any is."""
    blocks = lanes.reshape(lanes.shape[0] // STRIDE, STRIDE, lanes.shape[1] // STRIDE, STRIDE)
    unknown, line = (blocks == UNKNOWN).any((1, 3)), (blocks == LINE).any((1, 3))
    return np.where(unknown, UNKNOWN, np.where(line, LINE, 0)).astype(np.uint8)


def _batches(
    real: Sequence[LabeledFrame],
    added: Sequence[LabeledFrame],
    share: float,
    steps: int,
    batch_size: int,
    rng: np.random.Generator,
) -> Iterator[tuple[list[LabeledImage], NDArray[np.uint8]]]:
    for _ in range(steps):
        pools = [added if drawn else real for drawn in rng.random(batch_size) < share]
        batch, lanes = zip(*(_changed(pool[int(rng.integers(len(pool)))], rng) for pool in pools), strict=True)
        yield list(batch), np.stack(lanes)


def _changed(frame: LabeledFrame, rng: np.random.Generator) -> tuple[LabeledImage, NDArray[np.uint8]]:
    """The frame moved and recolored at random, and its lanes by cells."""
    move = sample_move(frame.image.shape, rng)
    boxes, labels = move_labels(frame.objects, move)
    image = recolor(move_image(frame.image, move), rng)
    lanes = lane_cells(move_image(frame.lanes, move, cv2.INTER_NEAREST))
    return LabeledImage(image=image, boxes=boxes, labels=labels), lanes
