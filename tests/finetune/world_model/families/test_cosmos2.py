"""A Cosmos-Predict2 pipeline of genuine classes: the same latents here and in diffusers; its grafts are trained."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLWan, Cosmos2VideoToWorldPipeline
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from PIL import Image
from torch import Tensor

from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Clip
from driveforge.datasets.simulated_source import SimulatedSource
from driveforge.finetune.training.adapters import merge_adapter, set_trainable
from driveforge.finetune.world_model.clip_tensors import ClipTensors, ConditionMask
from driveforge.finetune.world_model.conditions import Conditions
from driveforge.finetune.world_model.families.cosmos2 import Cosmos2WorldModel
from driveforge.finetune.world_model.families.registry import load_world_model, read_limits, recognize_family
from driveforge.finetune.world_model.flow import flow_matching_loss, sample_noise
from driveforge.finetune.world_model.generator import WorldModelGenerator
from driveforge.finetune.world_model.sampler_settings import SamplerSettings
from driveforge.finetune.world_model.sampling import sample
from tests.defaults import sampler_settings, simulation_config
from tests.finetune.released_checkpoints import SafetyChecker, edit_index, make_cosmos2

HEIGHT, WIDTH, FRAMES, STEPS = 32, 48, 13, 4
NEGATIVE = "blurry night"
Encoded = tuple[Tensor, Conditions]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cosmos2(tmp_path_factory.mktemp("cosmos2") / "model")


@pytest.fixture(scope="module")
def clip() -> Clip:
    size = simulation_config(domains=("driving-day",), num_scenes=1, num_frames=FRAMES, height=HEIGHT, width=WIDTH)
    source = SimulatedSource(size)
    return source.load(source.scenes()[0])


@pytest.fixture
def model(folder: Path) -> Cosmos2WorldModel:
    return Cosmos2WorldModel.from_pretrained(folder)


@pytest.fixture
def batch(model: Cosmos2WorldModel, clip: Clip) -> Encoded:
    return encode(model, [clip])


def encode(model: Cosmos2WorldModel, clips: Sequence[Clip]) -> Encoded:
    tensors = ClipTensors.stack([model.encoder.encode_clip(clip) for clip in clips])
    scenes = [clip.scene for clip in clips]
    return tensors.latents, model.batch_conditions(tensors, [s.domain for s in scenes], [s.caption for s in scenes])


def from_noise(**changes: Any) -> SamplerSettings:
    return sampler_settings(num_steps=STEPS, strength=1.0, inpaint_steps=0, **changes)


def sample_with_pipeline(model: Cosmos2WorldModel, folder: Path, clip: Clip, **arguments: Any) -> Any:
    """What diffusers makes with the modules of ``model`` from the noise of seed 5."""
    components = Cosmos2VideoToWorldPipeline.from_pretrained(folder, safety_checker=SafetyChecker()).components
    components |= {"transformer": model.transformer, "vae": model.codec.vae}
    pipeline = Cosmos2VideoToWorldPipeline(**components)
    pipeline.set_progress_bar_config(disable=True)
    shape = (1, model.codec.channels, 1 + (FRAMES - 1) // 4, HEIGHT // 8, WIDTH // 8)
    return pipeline(
        prompt=clip.scene.caption,
        negative_prompt=NEGATIVE,
        height=HEIGHT,
        width=WIDTH,
        num_frames=FRAMES,
        num_inference_steps=STEPS,
        fps=clip.scene.frame_rate,
        latents=torch.randn(shape, generator=torch.Generator().manual_seed(5)),
        **arguments,
    ).frames


@pytest.mark.parametrize(("num_frames", "guidance"), [(1, 7.0), (5, 7.0), (1, 0.0)])
def test_latents_and_frames_are_those_of_the_pipeline(
    folder: Path,
    model: Cosmos2WorldModel,
    clip: Clip,
    monkeypatch: pytest.MonkeyPatch,
    num_frames: int,
    guidance: float,
) -> None:
    """Bit by bit, with all conditions and the grafts as they are at first. The pipeline samples its condition."""
    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mode())
    first = clip.frames[:, :num_frames]
    images = [Image.fromarray(frame) for frame in first[0]]
    given = {"video": images} if num_frames > 1 else {"image": images[0]}
    settings = from_noise(guidance_scale=guidance + 1, negative_prompt=NEGATIVE)

    tensors = model.encoder.encode_conditions(clip.scene, first, num_frames).map(lambda tensor: tensor[None])
    ours = sample(model, model.batch_conditions(tensors, [clip.scene.domain], [clip.scene.caption]), 5, settings)
    theirs = sample_with_pipeline(model, folder, clip, **given, guidance_scale=guidance, output_type="latent")
    assert torch.equal(ours, theirs)

    made = WorldModelGenerator(model, "").generate(clip.scene, first, seed=5, settings=settings)
    frames = sample_with_pipeline(model, folder, clip, **given, guidance_scale=guidance, output_type="np")[0]
    # Gray levels are rounded here, and cut off in the pipeline.
    difference = made.frames[0] - (frames * 255).round()
    assert difference.min() >= 0
    assert difference.max() <= 1
    assert made.frames.std() > 10


@torch.no_grad()
def test_trained_grafts_have_an_effect(model: Cosmos2WorldModel, batch: Encoded) -> None:
    latents, conditions = batch
    level = torch.tensor([0.6])
    other_layout = replace(conditions, layout=conditions.layout + 1)
    other_domain = replace(conditions, domain=conditions.domain + 1)
    released = model(latents, level, conditions)
    assert torch.equal(model(latents, level, other_layout), released)
    assert torch.equal(model(latents, level, other_domain), released)
    grafts = model.grafts["transformer"]
    torch.nn.init.normal_(grafts.patch.weight, std=0.1)
    with_patch = model(latents, level, conditions)
    assert not torch.allclose(model(latents, level, other_layout), with_patch)
    torch.nn.init.normal_(grafts.domain.weight, std=0.1)
    assert not torch.allclose(model(latents, level, conditions), with_patch)
    assert not torch.allclose(model(latents, level, other_domain), model(latents, level, conditions))


@pytest.mark.parametrize("adapter", ["full", "lora"])
def test_training_reaches_the_grafts_and_the_transformer(
    model: Cosmos2WorldModel, clip: Clip, batch: Encoded, adapter: Any
) -> None:
    latents, conditions = batch
    set_trainable(model, adapter, rank=2)
    trained = dict(model.named_parameters())
    noise = sample_noise(0, 0, [0], latents.shape[1:], distribution=model.noise_distribution)
    flow_matching_loss(model, latents, torch.ones_like(latents[:, 0]), conditions, noise).mean().backward()
    with_gradient = {name for name, p in trained.items() if p.grad is not None and bool(p.grad.any())}
    assert {"grafts.transformer.patch.weight", "grafts.transformer.domain.weight"} <= with_gradient
    if adapter == "full":
        assert "transformer.patch_embed.proj.weight" in with_gradient
        return
    first_block = [name for name in with_gradient if "_blocks.0" in name]
    adapted = {name.split("_blocks.0.")[1].split(".lora_B")[0] for name in first_block}
    attention = {f"attn{n}.{layer}" for n in (1, 2) for layer in ("to_q", "to_k", "to_v", "to_out.0")}
    assert adapted == attention | {"ff.net.0.proj", "ff.net.2"}
    merge_adapter(model)
    released = Cosmos2WorldModel.from_pretrained(model.directory).transformer
    assert model.transformer.state_dict().keys() == released.state_dict().keys()


@torch.no_grad()
def test_every_view_numbers_its_frames_from_zero(model: Cosmos2WorldModel, batch: Encoded) -> None:
    """Equal views have equal velocities, even if they have more frames together than the transformer has positions."""
    latents, conditions = batch
    views = model.transformer.rope.max_size[1] // latents.shape[2] + 1
    repeated = replace(
        conditions,
        **{name: getattr(conditions, name).repeat(1, 1, views, 1, 1) for name in ("warped", "layout", "rays")},
        mask=ConditionMask(*(channel.repeat(1, 1, views, 1, 1) for channel in conditions.mask)),
        num_views=views,
    )
    out = model(latents.repeat(1, 1, views, 1, 1), torch.tensor([0.6]), repeated)
    first, *others = out.chunk(views, dim=2)
    for other in others:
        torch.testing.assert_close(other, first)


@torch.no_grad()
def test_clips_of_different_frame_rates_share_a_batch(model: Cosmos2WorldModel, clip: Clip) -> None:
    faster = Clip(scene=replace(clip.scene, timestamps=clip.scene.timestamps / 2), frames=clip.frames)
    clips = [clip, faster, clip]
    latents, conditions = encode(model, clips)
    assert conditions.frame_rate is not None
    assert conditions.frame_rate.tolist() == [10, 20, 10]
    levels = torch.tensor([0.3, 0.3, 0.9])
    together = model(latents, levels, conditions)
    for n in range(len(clips)):
        alone = model(latents[n : n + 1], levels[n : n + 1], conditions.select(torch.tensor([n])))
        torch.testing.assert_close(together[n : n + 1], alone)
    same_rate = model(latents[1:2], levels[1:2], encode(model, [clip])[1])
    assert not torch.allclose(together[1:2], same_rate), "the frame rate has an effect"


def test_it_samples_from_lower_levels_and_without_frames(folder: Path, clip: Clip) -> None:
    generator = WorldModelGenerator.load(folder)
    settings = sampler_settings(num_steps=2, strength=0.5)
    made = generator.generate(clip.scene, clip.frames[:, :1], seed=1, settings=settings)
    other = generator.generate(clip.scene, None, seed=1, settings=from_noise(guidance_scale=2.0))
    assert made.frames.shape == other.frames.shape == clip.frames.shape
    assert not np.array_equal(made.frames, other.frames)
    with pytest.raises(UserError, match="at least 2 sampling steps, got 1"):
        generator.generate(clip.scene, None, seed=1, settings=sampler_settings(num_steps=1, strength=1.0))


@torch.no_grad()
def test_a_saved_model_opens_here_and_in_diffusers(
    folder: Path, model: Cosmos2WorldModel, batch: Encoded, tmp_path: Path
) -> None:
    latents, conditions = batch
    for parameter in model.parameters():
        parameter += 0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    model.save_pretrained(tmp_path / "saved")
    loaded = load_world_model(tmp_path / "saved")
    weights = loaded.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
    level = torch.tensor([0.6])
    torch.testing.assert_close(loaded(latents, level, conditions), model(latents, level, conditions))
    assert (tmp_path / "saved" / "model_index.json").read_bytes() == (folder / "model_index.json").read_bytes()
    pipeline = Cosmos2VideoToWorldPipeline.from_pretrained(tmp_path / "saved", safety_checker=SafetyChecker())
    assert all(torch.equal(v, model.transformer.state_dict()[n]) for n, v in pipeline.transformer.state_dict().items())
    assert all(torch.equal(v, model.codec.vae.state_dict()[n]) for n, v in pipeline.vae.state_dict().items())
    assert pipeline.scheduler.config.use_karras_sigmas


@pytest.mark.parametrize(
    ("config", "shape", "billions"),
    [
        ({"num_attention_heads": 16, "num_layers": 28, "rope_scale": [1.0, 3.0, 3.0]}, (2048, 72), 1.956),
        ({"num_attention_heads": 40, "num_layers": 36, "rope_scale": [0.8333, 2.0, 2.0]}, (5120, 72), 14.265),
    ],
    ids=["2B", "14B"],
)
def test_released_configurations_are_understood(
    tmp_path: Path, config: dict[str, Any], shape: tuple[int, int], billions: float
) -> None:
    released = {
        "_class_name": "CosmosTransformer3DModel",
        "adaln_lora_dim": 256,
        "attention_head_dim": 128,
        "concat_padding_mask": True,
        "extra_pos_embed_type": None,
        "in_channels": 17,
        "max_size": [128, 240, 240],
        "mlp_ratio": 4.0,
        "out_channels": 16,
        "patch_size": [1, 2, 2],
        "text_embed_dim": 1024,
    }
    folder = make_cosmos2(tmp_path / "model")
    shutil.rmtree(folder / "vae")
    AutoencoderKLWan(base_dim=4, num_res_blocks=1).save_pretrained(folder / "vae")
    (folder / "transformer" / "config.json").write_text(json.dumps(released | config))
    model = Cosmos2WorldModel.on_meta(folder)
    weights = model.transformer.state_dict()
    assert weights["patch_embed.proj.weight"].shape == shape
    assert weights["transformer_blocks.0.attn2.to_k.weight"].shape == (shape[0], 1024)
    assert sum(weight.numel() for weight in weights.values()) / 1e9 == pytest.approx(billions, abs=5e-4)
    assert all(weight.is_meta for weight in model.state_dict().values())
    limits = read_limits(folder)
    assert limits.allows(93, 704, 1280)
    assert (limits.max_frames, limits.max_side, limits.side_step) == (509, 1920, 16)


def test_the_family_is_recognized_and_other_cosmos_pipelines_are_refused(tmp_path: Path) -> None:
    folder = make_cosmos2(tmp_path / "model")
    assert recognize_family(folder) == "cosmos2"
    edit_index(folder, _class_name="Cosmos2_5_PredictBasePipeline")
    with pytest.raises(UserError, match=r"Cosmos2_5_PredictBasePipeline; supported.* Cosmos2VideoToWorldPipeline$"):
        load_world_model(folder)
    with pytest.raises(UserError, match="model=cosmos2 takes Cosmos2VideoToWorldPipeline"):
        Cosmos2WorldModel.from_pretrained(folder)


@pytest.mark.parametrize(
    ("file", "key", "value", "words"),
    [
        ("transformer/config.json", "in_channels", 4, "in_channels must be 5 .* got 4"),
        ("transformer/config.json", "extra_pos_embed_type", "learnable", "extra_pos_embed_type must be None"),
        ("transformer/config.json", "use_crossattn_projection", True, "use_crossattn_projection must be False"),
        ("scheduler/scheduler_config.json", "use_karras_sigmas", False, "use_karras_sigmas must be True"),
        ("scheduler/scheduler_config.json", "_class_name", "UniPCMultistepScheduler", "must be FlowMatchEuler"),
    ],
)
def test_a_configuration_that_does_not_fit_is_named(
    tmp_path: Path, file: str, key: str, value: object, words: str
) -> None:
    folder = make_cosmos2(tmp_path / "model")
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(UserError, match=f"{file}: .*{words}"):
        load_world_model(folder)


@torch.no_grad()
@pytest.mark.slow
def test_compiled_blocks_give_the_same_velocity(model: Cosmos2WorldModel, batch: Encoded) -> None:
    latents, conditions = batch
    level = torch.tensor([0.6])
    eager = model(latents, level, conditions)
    model.compile_blocks()
    torch.testing.assert_close(model(latents, level, conditions), eager, atol=1e-4, rtol=1e-4)
