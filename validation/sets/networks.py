"""The networks that others measure with, as TorchScript from disk: those of FVD and FID, and RAFT for dense flow."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.errors import UserError
from driveforge.datasets.geometry import Array
from driveforge.datasets.scene import Clip
from driveforge.validation.local_weights import load_torchscript
from driveforge.validation.views.flow import Flow, FlowEstimator, Frame
from driveforge.validation.set_metrics.features import Extractor, files_hash
from driveforge.validation.views.pixels import reference_pixels

if TYPE_CHECKING:
    import torch

FLOW_STEP = 8  # RAFT takes sides that are multiples of this


def video_extractor(path: Path, switches: Sequence[str] = ()) -> Extractor:
    """One row a clip from a network of videos, as FVD takes it (Unterthiner et al., "FVD", 2019).

    The network at ``path`` is given the reference view as ``(1, 3, T, H, W)`` float32 in 0..255 and must return
    ``(1, D)``. ``switches`` are keywords that are handed over as True: the I3D of StyleGAN-V (``i3d_torchscript.pt``)
    wants "rescale", "resize" and "return_features". A UserError where there is no such file or it does not do this.
    """
    network = load_torchscript(path, switches)

    def embed(clip: Clip) -> Array:
        return _rows(path, network(_frames(reference_pixels(clip)).transpose(0, 1)[None]), 1)

    return Extractor(name=_name("video", path, switches), hash=files_hash(path), embed=embed)


def image_extractor(path: Path, switches: Sequence[str] = ()) -> Extractor:
    """One row a frame from a network of images, as FID takes it (Heusel et al., "GANs trained by TTUR", 2017).

    The network at ``path`` is given the reference view as ``(T, 3, H, W)`` float32 in 0..255, resizes it itself and
    must return ``(T, D)``. The Inception of StyleGAN (``inception-2015-12-05.pt``) wants the switch "return_features".
    """
    network = load_torchscript(path, switches)

    def embed(clip: Clip) -> Array:
        frames = reference_pixels(clip)
        return _rows(path, network(_frames(frames)), len(frames))

    return Extractor(name=_name("image", path, switches), hash=files_hash(path), embed=embed)


def flow_network(path: Path, switches: Sequence[str] = ()) -> FlowEstimator:
    """Dense flow by a network, such as RAFT (Teed and Deng, ECCV 2020), for ``warping_error``.

    The network at ``path`` is given two frames ``(1, 3, H, W)`` float32 in 0..255, edges repeated so that the sides are
    multiples of 8, and must return the flow ``(1, 2, H, W)`` in px, or several of which the last is taken (RAFT's
    iterations; scripted from its own repository it wants the switch "test_mode").
    """
    network = load_torchscript(path, switches)

    def flow(before: Frame, after: Frame) -> Flow:
        import torch

        height, width = before.shape[:2]
        pad = (0, -width % FLOW_STEP, 0, -height % FLOW_STEP)
        a, b = (torch.nn.functional.pad(_frames(frame[None]), pad, mode="replicate") for frame in (before, after))
        found = network(a, b)
        found = found[-1] if isinstance(found, list | tuple) else found
        if not isinstance(found, torch.Tensor) or found.shape != (1, 2, *a.shape[2:]):
            raise UserError(f"{path}: must return a flow of shape {(1, 2, *a.shape[2:])}, got {_shape(found)}")
        return found[0, :, :height, :width].permute(1, 2, 0).float().numpy()

    return flow


def _frames(frames: NDArray[np.uint8]) -> "torch.Tensor":
    """``(T, 3, H, W)`` float32 in 0..255 of frames ``(T, H, W, 3)``."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2))).float()


def _rows(path: Path, features: Any, count: int) -> Array:
    import torch

    if not isinstance(features, torch.Tensor) or features.ndim != 2 or len(features) != count:
        raise UserError(f"{path}: must return features of shape ({count}, D), got {_shape(features)}")
    return features.double().numpy()


def _shape(found: Any) -> str:
    return str(tuple(found.shape)) if hasattr(found, "shape") else type(found).__name__


def _name(kind: str, path: Path, switches: Sequence[str]) -> str:
    return f"{kind}:{path.stem}" + (f"({','.join(switches)})" if switches else "")
