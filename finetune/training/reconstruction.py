"""Terms of the loss of a video autoencoder; signals are (N,3,T,H,W) in [-1, 1]."""

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

_EDGE_WEIGHT, _SSIM_WEIGHT = 0.5, 0.2


def reconstruction_loss(output: Tensor, target: Tensor) -> Tensor:
    """L1, and errors of image gradients and of structural similarity, which keep edges and texture sharp."""
    l1 = (output - target).abs().mean()
    return l1 + _EDGE_WEIGHT * edge_error(output, target) + _SSIM_WEIGHT * (1 - similarity(output, target))


def edge_error(output: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error of the horizontal and vertical image gradients."""
    error = output - target
    return (error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()) / 2


def similarity(output: Tensor, target: Tensor) -> Tensor:
    """Mean SSIM over all frames (Wang et al. 2004)."""
    images = [signal.transpose(1, 2).flatten(0, 1) for signal in (output, target)]
    found = structural_similarity_index_measure(images[0], images[1], data_range=2.0)
    assert isinstance(found, Tensor)
    return found


def psnr(output: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB."""
    # The signal is in [-1, 1], so its peak squared is 4.
    return 10 * torch.log10(4 / (output - target).square().mean().clamp_min(1e-10))
