"""The model is saved and loaded whole, starts indifferent to its conditions' words, and counts frames per view."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Clip
from driveforge.finetune.world_model.conditions import Conditions, encode_clip, stack_conditions
from driveforge.finetune.world_model.model import WorldModel, compute_model_digest
from driveforge.finetune.world_model.serialization import CHECKSUMS_FILE


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
    assert compute_model_digest(tmp_path / "m") == compute_model_digest(tmp_path / "m")
    before = compute_model_digest(tmp_path / "m")
    model.save_pretrained(tmp_path / "m", torch.float16)
    assert compute_model_digest(tmp_path / "m") != before
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
        **{name: getattr(conditions, name).repeat(1, 1, 2, 1, 1) for name in ("warped", "layout", "mask", "rays")},
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


def test_pickled_weights_are_never_read(model: WorldModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "m")
    (tmp_path / "m" / CHECKSUMS_FILE).unlink()
    weights = tmp_path / "m" / "transformer" / "diffusion_pytorch_model.safetensors"
    torch.save(model.transformer.state_dict(), weights.with_suffix(".bin"))
    WorldModel.from_pretrained(tmp_path / "m")
    weights.unlink()
    with pytest.raises(UserError, match=r"diffusion_pytorch_model\.safetensors: is missing"):
        WorldModel.from_pretrained(tmp_path / "m")


def test_a_part_that_is_a_link_is_in_the_digest(model: WorldModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "m")
    before = compute_model_digest(tmp_path / "m")
    (tmp_path / "m" / "vae").rename(tmp_path / "vae")
    (tmp_path / "m" / "vae").symlink_to(tmp_path / "vae")
    assert compute_model_digest(tmp_path / "m") == before
    config = tmp_path / "vae" / "config.json"
    config.write_text(config.read_text() + " ")
    assert compute_model_digest(tmp_path / "m") != before


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("world_model.json", '"num_layers": 1', '"num_layers": 2', r"transformer/config\.json: num_layers must be 2"),
        ("world_model.json", '"ffn_dim": 32', '"ffn_dim": "32"', r"world_model\.json: ffn_dim must be"),
        ("world_model.json", '"head_dim"', '"heads_dim"', r"world_model\.json: heads_dim is not a known key"),
        (
            "transformer/config.json",
            '"num_layers": 1',
            '"num_layers": 9999999',
            r"config\.json: num_layers must be 0 to",
        ),
        ("transformer/config.json", '"num_layers": 1', '"num_layers": 2', r"safetensors: \d+ tensors are missing"),
        ("transformer/config.json", '"eps": 1e-06', '"eps": -1.0', r"config\.json: .*eps"),
        ("transformer/config.json", "WanTransformer3DModel", "UNet2DModel", r"must describe a WanTransformer3DModel"),
        ("vae/config.json", '"z_dim": 4', '"z_dim": 5', r"vae"),
        ("vae/config.json", "1.0,", "NaN,", r"vae/config\.json: latents_std\[\d\] holds NaN"),
    ],
)
def test_a_configuration_that_does_not_fit_is_named(
    model: WorldModel, tmp_path: Path, file: str, old: str, new: str, words: str
) -> None:
    model.save_pretrained(tmp_path / "m")
    text = (tmp_path / "m" / file).read_text()
    assert old in text
    (tmp_path / "m" / file).write_text(text.replace(old, new, 1))
    with pytest.raises(UserError, match=rf"{re.escape(file)}: differs from SHA256SUMS"):
        WorldModel.from_pretrained(tmp_path / "m")
    (tmp_path / "m" / CHECKSUMS_FILE).unlink()
    with pytest.raises(UserError, match=words):
        WorldModel.from_pretrained(tmp_path / "m")
