"""What the decoder is trained on: clean and noisy latents, and predictions of the model."""

from typing import Any

import torch

from driveforge.finetune.strategies.strategy import Prediction
from driveforge.finetune.world_model.tiny_vae import make_vae
from driveforge.finetune.world_model.wan_codec import WanCodec
from driveforge.pipelines.train.streaming.decoder import decoder_loss, decoder_parameters, draw_decoder_inputs
from driveforge.pipelines.train.streaming.whole_clips import decode_clips

BATCH = 30


def make_prediction(latents: torch.Tensor, sigma: float) -> Prediction:
    """A prediction that is wrong by 1 everywhere."""
    noisy = (1 - sigma) * latents + sigma * torch.randn(latents.shape, generator=torch.Generator().manual_seed(2))
    absent: Any = None
    return Prediction(
        noisy=noisy,
        sigma=torch.full((len(latents),), sigma),
        conditions=absent,
        cell_weight=absent,
        velocity=(noisy - (latents + 1)) / sigma,
    )


def errors(sigma: float) -> torch.Tensor:
    """Mean error of each input of the decoder, in units of the latents."""
    latents = torch.randn(BATCH, 4, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    inputs, rows = draw_decoder_inputs(latents, make_prediction(latents, sigma), 9, torch.Generator().manual_seed(1))
    assert len(set(rows.tolist())) == 9
    return (inputs - latents[rows]).abs().mean((1, 2, 3, 4))


def test_a_third_is_predicted_a_third_noisy_and_a_third_clean() -> None:
    found = errors(sigma=0.5)
    torch.testing.assert_close(found[0::3], torch.ones(3))
    assert ((found[1::3] > 0) & (found[1::3] < 0.35)).all()
    assert (found[2::3] == 0).all()


def test_predictions_from_almost_pure_noise_are_not_used() -> None:
    assert (errors(sigma=0.95)[0::3] == 0).all()


def test_decoding_has_gradients_and_training_leaves_the_encoder() -> None:
    torch.manual_seed(0)
    vae = make_vae(4, 8)
    codec = WanCodec(vae)
    for parameter in decoder_parameters(vae):
        parameter.requires_grad_(True)
    frames = torch.randint(0, 255, (1, 5, 16, 16, 3), dtype=torch.uint8)
    latents = codec.encode(frames)
    target = torch.zeros(1, 3, 5, 16, 16)
    loss = decoder_loss(decode_clips(codec, latents), target)
    loss.backward()
    assert all(p.grad is not None for p in decoder_parameters(vae))
    assert all(p.grad is None for p in vae.encoder.parameters())
    with torch.no_grad():
        for parameter in decoder_parameters(vae):
            assert parameter.grad is not None
            parameter -= 1e-3 * parameter.grad
        assert decoder_loss(decode_clips(codec, latents), target) < loss
