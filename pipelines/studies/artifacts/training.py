"""Trains the artifact network on labeled crops, on one CPU thread; the same examples and seed give the same weights."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from driveforge.datasets.geometry import Array
from driveforge.datasets.progress import track
from driveforge.pipelines.studies.artifacts.examples import GENERATED, KINDS, Examples
from driveforge.pipelines.studies.artifacts.settings import ArtifactStudy
from driveforge.validation.learned.network import ArtifactNetwork

LOG_EVERY = 50
# Shares of a batch: intact, generated and spoilt crops, of objects and of regions.
OBJECT_SHARES, REGION_SHARES = (0.27, 0.33, 0.12), (0.1, 0.13, 0.05)
MAX_SHIFT_PX = 3
_VIEW_CHANNELS = ((0, 3), (3, 6), (6, 9))
_COLORS = 9


@dataclass(frozen=True, kw_only=True, slots=True)
class LossPoint:
    """A point of the training curve: the mean loss of the last ``LOG_EVERY`` steps."""

    step: int
    loss: float


def train_network(examples: Examples, settings: ArtifactStudy) -> tuple[ArtifactNetwork, list[LossPoint]]:
    """The network after ``settings.steps`` of AdamW with a one-cycle schedule, with its curve. Seeds torch."""
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    network = ArtifactNetwork().train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, total_steps=settings.steps)
    pools = _pools(examples, settings.batch_size)
    losses: list[float] = []
    for _ in track(range(settings.steps), "Training the artifact network", total=settings.steps):
        batch = _sample_batch(examples, pools, rng)
        loss = binary_cross_entropy_with_logits(network(batch.images, batch.context), batch.damage)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    points = range(LOG_EVERY, len(losses) + 1, LOG_EVERY)
    curve = [LossPoint(step=n, loss=round(float(np.mean(losses[n - LOG_EVERY : n])), 4)) for n in points]
    return network.eval(), curve


def logits_of(network: ArtifactNetwork, examples: Examples, batch_size: int = 256) -> Array:
    """The logit ``(N,)`` of each example."""
    parts = []
    with torch.inference_mode():
        for start in range(0, len(examples), batch_size):
            some = slice(start, start + batch_size)
            images, context = torch.from_numpy(examples.images[some]), torch.from_numpy(examples.context[some])
            parts.append(network(images, context).double().numpy())
    return np.concatenate(parts)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Batch:
    images: Tensor
    context: Tensor
    damage: Tensor


def _pools(examples: Examples, batch_size: int) -> list[tuple[NDArray[np.int64], int]]:
    """The crops of every part of a batch, with their number in it; parts without crops are left out."""
    is_object, is_generated = examples.context[:, 0] > 0, examples.kind == KINDS.index(GENERATED)
    parts = []
    for of_object, shares in ((True, OBJECT_SHARES), (False, REGION_SHARES)):
        masks = (examples.kind == 0, is_generated, (examples.kind > 0) & ~is_generated)
        parts += [
            (np.flatnonzero(mask & (is_object == of_object)), max(round(share * batch_size), 1))
            for mask, share in zip(masks, shares, strict=True)
        ]
    return [(pool, count) for pool, count in parts if len(pool)]


def _sample_batch(examples: Examples, pools: list[tuple[NDArray[np.int64], int]], rng: np.random.Generator) -> _Batch:
    chosen = np.concatenate([pool[rng.integers(len(pool), size=count)] for pool, count in pools])
    images = [_wear(_augment(examples.images[n], rng), rng) for n in chosen]
    return _Batch(
        images=torch.from_numpy(np.stack(images)),
        context=torch.from_numpy(examples.context[chosen]),
        damage=torch.from_numpy(examples.damage[chosen]),
    )


def _augment(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Mirrored, shifted, and with colors exchanged and scaled, in all views alike."""
    out = image[:, :, ::-1] if rng.random() < 0.5 else image
    if rng.random() < 0.5:
        dy, dx = rng.integers(-MAX_SHIFT_PX, MAX_SHIFT_PX + 1, 2).tolist()
        out = np.roll(out, (dy, dx), (1, 2))
    if rng.random() < 0.7:
        order, gains = rng.permutation(3), rng.uniform(0.7, 1.3, (3, 1, 1)).astype(np.float32)
        views = [(out[low:high][order] * gains).clip(0, 255).astype(np.uint8) for low, high in _VIEW_CHANNELS]
        out = np.concatenate([*views, out[_COLORS:]])
    return np.ascontiguousarray(out)


def _wear(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """The crop with the blur, noise and exposure of another camera in three of ten cases, in all views alike."""
    if rng.random() < 0.7:
        return image
    colors = image[:_COLORS].transpose(1, 2, 0).astype(np.float32)
    colors = np.asarray(cv2.GaussianBlur(colors, (0, 0), rng.uniform(0.3, 1.2)))
    colors = colors * rng.uniform(0.6, 1.2) + rng.uniform(0, 4) * rng.normal(size=(*colors.shape[:2], _COLORS))
    return np.concatenate([colors.round().clip(0, 255).astype(np.uint8).transpose(2, 0, 1), image[_COLORS:]])
