"""Training of the VAE's decoder beside the world model, so that it tolerates the errors of generated latents."""

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor, nn

from driveforge.finetune.strategies.strategy import Prediction
from driveforge.finetune.training.reconstruction import edge_error

# The highest standard deviation of the noise on true latents.
_LATENT_NOISE = 0.35
# Noise levels at which the model's prediction shows the clip: below, it is the input; above, it is another clip.
_PREDICTED_LEVELS = (0.1, 0.75)
_L1_WEIGHT, _EDGE_WEIGHT = 0.1, 0.5


def decoder_parameters(vae: AutoencoderKLWan) -> list[nn.Parameter]:
    """The weights of the decoder; those of the encoder stay, since they define the latents."""
    return [*vae.decoder.parameters(), *vae.post_quant_conv.parameters()]


def draw_decoder_inputs(
    latents: Tensor, prediction: Prediction, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Latents (n,Z,F,h,w) to decode, n at most ``count``, and the rows (n,) of the batch that they are of.

    A third is clean, a third has noise, a third is what the model predicts from a ``prediction`` of this batch.
    """
    device = latents.device
    count = min(count, len(latents))
    low, high = _PREDICTED_LEVELS
    is_usable = (prediction.sigma >= low) & (prediction.sigma <= high)
    order = torch.rand(len(latents), generator=generator, device=device)
    # The usable predictions first, in random order; without enough of them, true latents fill up.
    rows = torch.argsort(order - is_usable.float())[:count]
    level = prediction.sigma[rows].view(-1, 1, 1, 1, 1)
    predicted = prediction.noisy[rows] - level * prediction.velocity[rows]
    kind = torch.arange(count, device=device) % 3
    is_predicted = (kind == 0) & is_usable[rows]
    noise_std = _LATENT_NOISE * torch.rand(count, generator=generator, device=device).square() * (kind == 1)
    noise = torch.randn(latents[rows].shape, generator=generator, device=device)
    noisy = latents[rows] + noise_std.view(-1, 1, 1, 1, 1) * noise
    return torch.where(is_predicted.view(-1, 1, 1, 1, 1), predicted, noisy).detach(), rows


def decoder_loss(output: Tensor, target: Tensor) -> Tensor:
    error = output - target
    return error.square().mean() + _L1_WEIGHT * error.abs().mean() + _EDGE_WEIGHT * edge_error(output, target)
