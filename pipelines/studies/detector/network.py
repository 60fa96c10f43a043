"""The detector's network: a heat map of object centers and the box around each, as in CenterNet.

Source: Zhou, Wang and Krähenbühl, "Objects as points" (2019), arXiv 1904.07850.
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDE = 4  # px of the image in a cell of the heat map
NUM_LABELS = 2
MAX_DETECTIONS = 60
CHANNELS = (16, 28, 44, 64, 80)  # of the levels of 1/2 to 1/32 of the image
PRIOR_LOGIT = -4.0  # of a center before training, since almost no cell has one
UNIT_PX = 16.0  # a distance to a side is predicted as the log of its ratio to this


class DetectorNetwork(nn.Module):
    """From images of any size to logits of centers and distances to the sides of the box."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _block(3, CHANNELS[0], stride=2)
        self.down = nn.ModuleList(
            nn.Sequential(_block(a, b, stride=2), *([_block(b, b)] if level else []))
            for level, (a, b) in enumerate(pairwise(CHANNELS))
        )
        levels = list(pairwise(CHANNELS[:0:-1]))  # from coarse to fine
        self.lateral = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in levels)
        self.up = nn.ModuleList(_block(b, b) for _, b in levels)
        self.centers = nn.Conv2d(CHANNELS[1], NUM_LABELS, 1)
        self.sides = nn.Conv2d(CHANNELS[1], 4, 1)
        self.centers.bias.data.fill_(PRIOR_LOGIT)  # type: ignore[union-attr]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``(B, 2, h, w)`` and distances to left, top, right and bottom ``(B, 4, h, w)`` px of images."""
        return self.detect(self.features(images))

    def features(self, images: Tensor) -> Tensor:
        """Features ``(B, C, h, w)`` of images in 0..1.

        An image is normalized by its own mean and deviation, so that a dark one is not a special case.
        """
        mean = images.mean((1, 2, 3), keepdim=True)
        deviation = (images - mean).square().mean((1, 2, 3), keepdim=True).sqrt()
        features = self.stem((images - mean) / (deviation + 0.02))
        levels = []
        for down in self.down:
            features = down(features)
            levels.append(features)
        features = levels.pop()
        for lateral, up in zip(self.lateral, self.up, strict=True):
            finer = levels.pop()
            features = up(functional.interpolate(lateral(features), finer.shape[-2:]) + finer)
        return torch.as_tensor(features)

    def detect(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The outputs of ``forward``, of ``features``."""
        return self.centers(features), UNIT_PX * self.sides(features).clamp(-6.0, 5.0).exp()


class ExportedDetector(nn.Module):
    """One image ``(1, 3, H, W)`` in 0..1 to boxes ``(N, 4)`` px, scores ``(N,)`` and labels ``(N,)``, best first."""

    def __init__(self, network: DetectorNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return find_peaks(*self.network(image))


def find_peaks(logits: Tensor, sides: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes, scores and labels of the first image of the network's outputs, best first."""
    heat, labels = logits.sigmoid()[0].max(0)
    # One detection per peak of the heat map, instead of non-maximum suppression of boxes.
    is_peak = heat == functional.max_pool2d(heat[None], 3, 1, 1)[0]
    scores, cells = torch.where(is_peak, heat, torch.zeros_like(heat)).flatten().topk(MAX_DETECTIONS)
    boxes = boxes_of(sides)[0].flatten(1).T
    return boxes[cells], scores, labels.flatten()[cells]


def boxes_of(sides: Tensor) -> Tensor:
    """Boxes x0, y0, x1, y1 px ``(B, 4, h, w)`` of distances ``(B, 4, h, w)`` from the center of each cell."""
    height, width = sides.shape[-2:]
    x = (torch.arange(width, dtype=sides.dtype) + 0.5) * STRIDE
    y = ((torch.arange(height, dtype=sides.dtype) + 0.5) * STRIDE)[:, None]
    left, top, right, bottom = sides.unbind(1)
    return torch.stack([x - left, y - top, x + right, y + bottom], 1)


def export(network: DetectorNetwork, path: Path) -> None:
    """Write ``network`` as ONNX, for images of any size. Needs the packages onnx and onnxscript."""
    from torch.export import Dim

    program = torch.onnx.export(
        ExportedDetector(network).eval(),
        (torch.zeros(1, 3, 128, 224),),
        input_names=["image"],
        output_names=["boxes", "scores", "labels"],
        dynamic_shapes=({2: Dim.DYNAMIC, 3: Dim.DYNAMIC},),
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    # Paths of source files and names of modules, which nobody needs to run the file.
    program.model.metadata_props.clear()
    for part in (program.model.graph, *program.model.graph.all_nodes(), *_values(program.model.graph)):
        part.metadata_props.clear()
    program.save(path)


def _values(graph: Any) -> Iterator[Any]:
    yield from (*graph.inputs, *graph.initializers.values())
    for node in graph.all_nodes():
        yield from node.outputs


def _block(channels_in: int, channels_out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False), nn.BatchNorm2d(channels_out), nn.ReLU(True)
    )
