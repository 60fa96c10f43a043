"""The artifact network: a small convolutional network on crops, with its packaged weights.

It runs on one CPU thread in float32, so that the same clip has the same values on the same machine.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from driveforge.datasets.errors import UserError
from driveforge.datasets.geometry import Array
from driveforge.validation.artifact_weights import RECIPE_FILE, WEIGHTS_FILE
from driveforge.validation.learned.crops import CHANNELS, CONTEXT, Crop

REMEDY = "reinstall driveforge, or set validate.learned=false"
_COLORS = 9  # channels of the three RGB views
_MIN_CONTRAST = 12.0  # gray levels: noise of flat crops is not amplified beyond


class ArtifactNetwork(nn.Module):
    """The logit ``(N,)`` that a crop shows artifacts, from images ``(N, CHANNELS, S, S)`` 0..255 and contexts."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_layer(CHANNELS, 32, kernel=5, stride=2),
            *_layer(32, 48),
            *_layer(48, 64, stride=2),
            *_layer(64, 64),
            *_layer(64, 96, stride=2),
        )
        self.head = nn.Sequential(nn.Linear(2 * 96 + CONTEXT + 1, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 1))

    def forward(self, images: Tensor, context: Tensor) -> Tensor:
        colors = images[:, :_COLORS].float()
        mean = colors.mean((1, 2, 3), keepdim=True)
        contrast = colors.std((1, 2, 3), keepdim=True).clamp(min=_MIN_CONTRAST)
        masks = images[:, _COLORS:].float() / 255
        features = self.features(torch.cat([(colors - mean) / contrast, masks], 1))
        pooled = torch.cat([features.mean((2, 3)), features.amax((2, 3))], 1)
        logits: Tensor = self.head(torch.cat([pooled, context, torch.log(contrast[:, :, 0, 0] / 50)], 1))
        return logits[:, 0]


def _layer(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU()]


@lru_cache(maxsize=1)
def load_artifact_network(folder: Path) -> ArtifactNetwork:
    """The network with the weights in ``folder``. Raises UserError if they are missing or not those of the recipe."""
    path, recipe = folder / WEIGHTS_FILE, folder / RECIPE_FILE
    try:
        content, expected = path.read_bytes(), json.loads(recipe.read_text("utf-8"))["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder}: the weights of the artifact network are missing or damaged; {REMEDY}") from error
    if hashlib.sha256(content).hexdigest() != expected:
        raise UserError(f"{path}: differs from the sha256 in {RECIPE_FILE}; {REMEDY}")
    network = ArtifactNetwork()
    try:
        network.load_state_dict({name: tensor.float() for name, tensor in load(content).items()})
    except (SafetensorError, RuntimeError) as error:
        raise UserError(f"{path}: not weights of this artifact network; train it again") from error
    return network.eval()


def rate_crops(network: ArtifactNetwork, crops: Sequence[Crop]) -> Array:
    """The logit ``(N,)`` of each crop; one batch on one thread."""
    if not crops:
        return np.zeros(0)
    images = torch.from_numpy(np.stack([crop.image for crop in crops]))
    context = torch.from_numpy(np.stack([crop.context for crop in crops]))
    with _single_thread(), torch.inference_mode():
        return np.asarray(network(images, context).double().numpy())


@contextmanager
def _single_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
