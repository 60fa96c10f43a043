"""Failures of a video model in the latents of its codec: cells with noise, averaged cells, cells from elsewhere."""

from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from driveforge.pipelines.studies.artifacts.spoils import Place

LatentSpoil = Callable[[Tensor, Tensor, np.random.Generator], Tensor]


def spoil_latents(latents: Tensor, place: Place, kind: str, rng: np.random.Generator) -> Tensor:
    """Latents ``(1, Z, F, h, w)`` with the failure ``kind`` in a place of the frames."""
    _, _, steps, height, width = latents.shape
    times = np.linspace(0, len(place.mask) - 1, steps).round().astype(int)
    masks = [
        cv2.resize(place.mask[t] * place.strength[t], (width, height), interpolation=cv2.INTER_AREA) for t in times
    ]
    weight = torch.from_numpy(np.stack(masks)).float()[None, None]
    return latents + weight * (LATENT_SPOILS[kind](latents, weight, rng) - latents)


def add_noise(latents: Tensor, weight: Tensor, rng: np.random.Generator) -> Tensor:
    """Noise that is the same in every frame, or another one in each."""
    steps = latents.shape[2] if rng.random() < 0.5 else 1
    shape = (*latents.shape[:2], steps, *latents.shape[3:])
    noise = torch.from_numpy(rng.normal(size=shape).astype(np.float32))
    return latents + float(rng.uniform(0.2, 1.0)) * noise


def average_cells(latents: Tensor, weight: Tensor, rng: np.random.Generator) -> Tensor:
    """The mean of the cells around, as of a model that is not sure."""
    frames = latents[0].transpose(0, 1)
    return avg_pool2d(frames, 3, 1, 1, count_include_pad=False).transpose(0, 1)[None]


def move_cells(latents: Tensor, weight: Tensor, rng: np.random.Generator) -> Tensor:
    """Cells from one or two places beside, or above."""
    shift = rng.choice([-2, -1, 1, 2]), rng.choice([-1, 0, 0, 1])
    return torch.roll(latents, (int(shift[1]), int(shift[0])), (3, 4))


def keep_early(latents: Tensor, weight: Tensor, rng: np.random.Generator) -> Tensor:
    """Cells of an early frame, which stay while the scene moves on."""
    return latents[:, :, : 1 + int(rng.integers(3))].mean(2, keepdim=True).expand_as(latents)


LATENT_SPOILS: dict[str, LatentSpoil] = {
    "latent-noise": add_noise,
    "latent-average": average_cells,
    "latent-move": move_cells,
    "latent-keep": keep_early,
}
