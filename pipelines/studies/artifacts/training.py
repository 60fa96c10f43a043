"""Trains the artifact network on labeled crops, on one CPU thread; the same examples and seed give the same weights."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from driveforge.datasets.geometry import Array
from driveforge.datasets.progress import track
from driveforge.pipelines.studies.artifacts.examples import Examples
from driveforge.pipelines.studies.artifacts.settings import ArtifactStudy
from driveforge.pipelines.studies.artifacts.twins import spoil_crop, wear_crop
from driveforge.validation.learned.network import ArtifactNetwork

LOG_EVERY = 50
_VIEW_CHANNELS = ((0, 3), (3, 6), (6, 9))


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
    pools = _pools(examples)
    losses: list[float] = []
    for _ in track(range(settings.steps), "Training the artifact network", total=settings.steps):
        batch = _sample_batch(examples, pools, settings, rng)
        loss = binary_cross_entropy_with_logits(network(batch.images, batch.context), batch.labels)
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
    labels: Tensor


def _pools(examples: Examples) -> list[NDArray[np.int64]]:
    """The spoilt and the intact examples, those of objects apart from those of regions: each makes up a quarter."""
    is_object = examples.context[:, 0] > 0
    pools = [
        np.flatnonzero((examples.spoilt == bad) & (is_object == of_object)) for bad in (0, 1) for of_object in (0, 1)
    ]
    return [pool for pool in pools if len(pool)]


def _sample_batch(
    examples: Examples, pools: list[NDArray[np.int64]], settings: ArtifactStudy, rng: np.random.Generator
) -> _Batch:
    """As many crops of each pool; every intact crop, worn, has its spoilt twin."""
    each = max(settings.batch_size // (3 * len(pools) // 2), 1)
    chosen = np.concatenate([pool[rng.integers(len(pool), size=each)] for pool in pools])
    images, context, labels = [], [], []
    for n in chosen:
        image, is_spoilt = wear_crop(_augment(examples.images[n], rng), rng), bool(examples.spoilt[n])
        twin = None if is_spoilt else spoil_crop(image, settings.twin_kinds, rng)
        found = [(image, is_spoilt)] if twin is None else [(image, False), (twin, True)]
        for view, label in found:
            images.append(view)
            context.append(examples.context[n])
            labels.append(label)
    return _Batch(
        images=torch.from_numpy(np.stack(images)),
        context=torch.from_numpy(np.stack(context)),
        labels=torch.tensor(labels, dtype=torch.float32),
    )


def _augment(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Mirrored, and with colors exchanged and scaled, in all three views alike."""
    out = image[:, :, ::-1] if rng.random() < 0.5 else image
    if rng.random() < 0.7:
        order, gains = rng.permutation(3), rng.uniform(0.7, 1.3, (3, 1, 1)).astype(np.float32)
        views = [(out[low:high][order] * gains).clip(0, 255).astype(np.uint8) for low, high in _VIEW_CHANNELS]
        out = np.concatenate([*views, out[9:]])
    return np.ascontiguousarray(out)
