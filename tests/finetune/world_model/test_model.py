"""The model is saved and loaded without loss, starts independent of the domain, and numbers frames per view."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Clip
from driveforge.finetune.world_model.clip_tensors import ClipTensors, ConditionMask
from driveforge.finetune.world_model.conditions import Conditions
from driveforge.finetune.world_model.families.registry import load_world_model
from driveforge.finetune.world_model.families.tiny import TinyWorldModel
from driveforge.finetune.world_model.model import compute_model_digest
from driveforge.finetune.world_model.serialization import CHECKSUMS_FILE


def make_conditions(model: TinyWorldModel, clip: Clip, count: int = 1) -> tuple[torch.Tensor, Conditions]:
    tensors = ClipTensors.stack([model.encoder.encode_clip(clip)] * count)
    domains, captions = [clip.scene.domain] * count, [clip.scene.caption] * count
    return tensors.latents, model.batch_conditions(tensors, domains, captions)


@torch.no_grad()
def test_saved_and_loaded_it_is_the_same(model: TinyWorldModel, clip: Clip, tmp_path: Path) -> None:
    latents, conditions = make_conditions(model, clip)
    torch.nn.init.normal_(model.domain.weight)
    sigma = torch.tensor([0.4])
    model.save_pretrained(tmp_path / "m")
    loaded = load_world_model(tmp_path / "m")
    weights = loaded.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
    # Loaded weights have another alignment in memory, which changes the order of additions in some kernels.
    torch.testing.assert_close(
        loaded(latents, sigma, conditions), model(latents, sigma, conditions), atol=1e-4, rtol=1e-4
    )
    assert compute_model_digest(tmp_path / "m") == compute_model_digest(tmp_path / "m")
    before = compute_model_digest(tmp_path / "m")
    model.save_pretrained(tmp_path / "m", torch.float16)
    assert compute_model_digest(tmp_path / "m") != before
    half = load_world_model(tmp_path / "m")
    torch.testing.assert_close(half(latents, sigma, conditions), model(latents, sigma, conditions), atol=2e-2, rtol=0)


@torch.no_grad()
def test_the_domain_has_an_effect_only_once_it_is_trained(model: TinyWorldModel, clip: Clip) -> None:
    latents, conditions = make_conditions(model, clip)
    other = replace(conditions, domain=conditions.domain + 1)
    sigma = torch.tensor([0.4])
    assert torch.equal(model(latents, sigma, conditions), model(latents, sigma, other))
    torch.nn.init.normal_(model.domain.weight)
    assert not torch.equal(model(latents, sigma, conditions), model(latents, sigma, other))


@torch.no_grad()
def test_every_view_numbers_its_frames_from_zero(model: TinyWorldModel, clip: Clip) -> None:
    """Two equal views give equal velocities while the view embedding is zero."""
    latents, conditions = make_conditions(model, clip)
    doubled = replace(
        conditions,
        **{name: getattr(conditions, name).repeat(1, 1, 2, 1, 1) for name in ("warped", "layout", "rays")},
        mask=ConditionMask(*(channel.repeat(1, 1, 2, 1, 1) for channel in conditions.mask)),
        num_views=2,
    )
    out = model(latents.repeat(1, 1, 2, 1, 1), torch.tensor([0.4]), doubled)
    first, second = out.chunk(2, dim=2)
    torch.testing.assert_close(first, second)
    torch.nn.init.normal_(model.view.weight)
    first, second = model(latents.repeat(1, 1, 2, 1, 1), torch.tensor([0.4]), doubled).chunk(2, dim=2)
    assert not torch.allclose(first, second)


def test_a_folder_without_a_model_is_named(model: TinyWorldModel, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"world_model\.json or model_index\.json is missing"):
        load_world_model(tmp_path)
    model.save_pretrained(tmp_path / "m")
    (tmp_path / "m" / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(UserError, match="incomplete"):
        load_world_model(tmp_path / "m")


def test_pickled_weights_are_never_read(model: TinyWorldModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "m")
    (tmp_path / "m" / CHECKSUMS_FILE).unlink()
    weights = tmp_path / "m" / "transformer" / "diffusion_pytorch_model.safetensors"
    torch.save(model.transformer.state_dict(), weights.with_suffix(".bin"))
    load_world_model(tmp_path / "m")
    weights.unlink()
    with pytest.raises(UserError, match=r"diffusion_pytorch_model\.safetensors: is missing"):
        load_world_model(tmp_path / "m")


def test_the_digest_includes_a_part_that_is_a_link(model: TinyWorldModel, tmp_path: Path) -> None:
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
    model: TinyWorldModel, tmp_path: Path, file: str, old: str, new: str, words: str
) -> None:
    model.save_pretrained(tmp_path / "m")
    text = (tmp_path / "m" / file).read_text()
    assert old in text
    (tmp_path / "m" / file).write_text(text.replace(old, new, 1))
    with pytest.raises(UserError, match=rf"{re.escape(file)}: differs from SHA256SUMS"):
        load_world_model(tmp_path / "m")
    (tmp_path / "m" / CHECKSUMS_FILE).unlink()
    with pytest.raises(UserError, match=words):
        load_world_model(tmp_path / "m")
