"""The model is saved and loaded whole, starts indifferent to its conditions' words, and counts frames per view."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from datasets.errors import UserError
from datasets.scene import Clip
from finetune.conditions import Conditions, encode_clip, stack_conditions
from finetune.world_model import WorldModel, model_digest


def conditions_of(model: WorldModel, clip: Clip, count: int = 1) -> tuple[torch.Tensor, Conditions]:
    tensors = {
        name: tensor[None].repeat(count, *[1] * tensor.ndim) for name, tensor in encode_clip(model.vae, clip).items()
    }
    words = [clip.scene.domain] * count, [clip.scene.caption] * count
    return tensors["latents"], stack_conditions(tensors, *words, model.config.domains)


@torch.no_grad()
def test_saved_and_loaded_it_is_the_same(model: WorldModel, clip: Clip, tmp_path: Path) -> None:
    latents, conditions = conditions_of(model, clip)
    torch.nn.init.normal_(model.domain.weight)
    sigma = torch.tensor([0.4])
    model.save_pretrained(tmp_path / "m")
    loaded = WorldModel.from_pretrained(tmp_path / "m")
    weights = loaded.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
    # Loaded weights lie elsewhere in memory, which changes the order in which some kernels add.
    torch.testing.assert_close(
        loaded(latents, sigma, conditions), model(latents, sigma, conditions), atol=1e-4, rtol=1e-4
    )
    assert model_digest(tmp_path / "m") == model_digest(tmp_path / "m")
    before = model_digest(tmp_path / "m")
    model.save_pretrained(tmp_path / "m", torch.float16)
    assert model_digest(tmp_path / "m") != before
    half = WorldModel.from_pretrained(tmp_path / "m")
    torch.testing.assert_close(half(latents, sigma, conditions), model(latents, sigma, conditions), atol=2e-2, rtol=0)


@torch.no_grad()
def test_the_domain_starts_at_zero_and_then_matters(model: WorldModel, clip: Clip) -> None:
    latents, conditions = conditions_of(model, clip)
    other = replace(conditions, domain=conditions.domain + 1)
    sigma = torch.tensor([0.4])
    assert torch.equal(model(latents, sigma, conditions), model(latents, sigma, other))
    torch.nn.init.normal_(model.domain.weight)
    assert not torch.equal(model(latents, sigma, conditions), model(latents, sigma, other))


@torch.no_grad()
def test_views_share_a_clock(model: WorldModel, clip: Clip) -> None:
    """Two equal views side by side in time give equal velocities, until the view embedding tells them apart."""
    latents, conditions = conditions_of(model, clip)
    doubled = replace(
        conditions,
        **{name: getattr(conditions, name).repeat(1, 1, 2, 1, 1) for name in ("carried", "layout", "mask", "rays")},
        num_views=2,
    )
    out = model(latents.repeat(1, 1, 2, 1, 1), torch.tensor([0.4]), doubled)
    first, second = out.chunk(2, dim=2)
    torch.testing.assert_close(first, second)
    torch.nn.init.normal_(model.view.weight)
    first, second = model(latents.repeat(1, 1, 2, 1, 1), torch.tensor([0.4]), doubled).chunk(2, dim=2)
    assert not torch.allclose(first, second)


def test_a_folder_without_a_model_is_named(model: WorldModel, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"world_model\.json is missing"):
        WorldModel.from_pretrained(tmp_path)
    model.save_pretrained(tmp_path / "m")
    (tmp_path / "m" / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(UserError, match="incomplete"):
        WorldModel.from_pretrained(tmp_path / "m")
