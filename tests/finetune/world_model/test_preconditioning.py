"""The skip connections are the best linear estimate, and a network with zero output returns the warped frame."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from driveforge.finetune.world_model.clip_tensors import ConditionMask
from driveforge.finetune.world_model.conditions import Conditions
from driveforge.finetune.world_model.preconditioning import estimate_latent_std, precondition
from driveforge.finetune.world_model.sampling import sample
from tests.defaults import sampler_settings
from tests.finetune.function_model import FunctionModel


def conditions(warped: torch.Tensor, share: float) -> Conditions:
    mask = ConditionMask.from_channels(torch.zeros(len(warped), 4, *warped.shape[2:]))
    mask.warped.fill_(share)
    return Conditions(
        warped=warped,
        layout=torch.zeros_like(warped),
        mask=mask,
        rays=torch.zeros(len(warped), 6, *warped.shape[2:]),
        domain=torch.zeros(len(warped), dtype=torch.long),
        text=torch.zeros(len(warped), 12, dtype=torch.long),
        empty_text=torch.zeros(12, dtype=torch.long),
    )


@settings(max_examples=20, deadline=None)
@given(st.floats(0.05, 0.95), st.floats(0.1, 2.0), st.sampled_from([0.0, 1.0]))
def test_mean_and_scale_are_those_of_gaussian_data(sigma: float, spread: float, share: float) -> None:
    generator = torch.Generator().manual_seed(0)
    shape = (1, 1, 1, 200, 200)
    warped, rest, noise = (torch.randn(shape, generator=generator) for _ in range(3))
    std = torch.full((2, 1), spread)
    data = warped + spread * rest
    noisy = (1 - sigma) * data + sigma * noise
    known = precondition(noisy, torch.tensor([sigma]), conditions(warped, share), std)
    error = (noise - data - known.mean) / known.scale
    assert abs(float(known.network_input.std()) - 1) < 0.03
    assert abs(float(error.std()) - 1) < 0.03
    correlation = np.corrcoef(error.flatten(), known.network_input.flatten())[0, 1]
    assert abs(correlation) < 0.03, "no linear dependence is left"


def test_a_network_with_zero_output_samples_the_warped_frame() -> None:
    warped = torch.randn(1, 3, 2, 4, 4, generator=torch.Generator().manual_seed(0))

    def zero_output(noisy: torch.Tensor, sigma: torch.Tensor, c: Conditions) -> torch.Tensor:
        return precondition(noisy, sigma, c, torch.full((2, 3), 0.01)).mean

    out = sample(
        FunctionModel(zero_output), conditions(warped, 1.0), 0, sampler_settings(num_steps=10, guidance_scale=1.0)
    )
    torch.testing.assert_close(out, warped, atol=0.05, rtol=0)


def test_std_of_warped_frames_is_that_of_their_residual() -> None:
    generator = torch.Generator().manual_seed(0)
    latents = 2 * torch.randn(8, 3, 4, 6, 6, generator=generator)
    warped = torch.zeros_like(latents)
    mask = ConditionMask.from_channels(torch.zeros(8, 4, 4, 6, 6))
    warped[:, :, 2:] = latents[:, :, 2:] + 0.5 * torch.randn(8, 3, 2, 6, 6, generator=generator)
    mask.warped[:, :, 2:] = 1
    std = estimate_latent_std(latents, warped, mask)
    torch.testing.assert_close(std, torch.tensor([[2.0] * 3, [0.5] * 3]), atol=0.1, rtol=0)
