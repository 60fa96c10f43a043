"""Released pipelines of Wan: equal to diffusers at first, trained with grafts and LoRA, saved for both."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLWan, DiffusionPipeline, WanImageToVideoPipeline, WanTransformer3DModel
from diffusers.pipelines.wan import pipeline_wan_i2v
from PIL import Image

from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Clip, Scene
from driveforge.datasets.select_frames import select_frames
from driveforge.finetune.training.adapters import (
    LORA_FILES,
    copy_adapters,
    merge_adapter,
    save_adapters,
    set_trainable,
)
from driveforge.finetune.world_model.codec import count_frames, count_latent_frames
from driveforge.finetune.world_model.families.registry import (
    load_clip_encoder,
    load_world_model,
    read_limits,
)
from driveforge.finetune.world_model.families.released import ReleasedWorldModel
from driveforge.finetune.world_model.families.wan22 import Wan22WorldModel
from driveforge.finetune.world_model.generator import WorldModelGenerator
from driveforge.finetune.world_model.limits import require_encodable
from driveforge.finetune.world_model.sampling import sample
from tests.defaults import sampler_settings
from tests.finetune.released_checkpoints import edit_index, edit_json, make_wan

KINDS = ("t2v", "i2v", "ti2v", "t2v-experts", "i2v-experts")
WITH_FRAME = ("i2v", "ti2v", "i2v-experts")
SIZE = {"height": 32, "width": 64}
FROM_NOISE = sampler_settings(
    num_steps=3, strength=1.0, inpaint_steps=0, inpaint_strength=1.0, guidance_scale=5.0, sigmas=()
)


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def checkpoint(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_wan(tmp_path_factory.mktemp("released") / kind, kind)


@pytest.fixture
def wide(clip: Clip) -> Clip:
    """Nine frames of 32 x 64: three latent frames of a codec of stride 4, four tokens or more in each."""
    scene = clip.scene
    times = np.arange(9) * 0.1
    track = replace(
        scene.tracks[0], box_to_world=np.resize(scene.tracks[0].box_to_world, (9, 4, 4)), present=np.ones(9, bool)
    )
    return Clip(
        scene=replace(
            scene,
            timestamps=times,
            cameras=(replace(scene.cameras[0], width=64),),
            ego_to_world=np.resize(scene.ego_to_world, (9, 4, 4)),
            tracks=(track,),
        ),
        frames=np.random.default_rng(0).integers(0, 255, (1, 9, 4, 8, 3), np.uint8).repeat(8, 2).repeat(8, 3),
    )


def load_pipeline(folder: Path, kind: str) -> Any:
    pipeline = DiffusionPipeline.from_pretrained(folder)
    if kind == "ti2v":  # its index names the text-to-video pipeline
        pipeline = WanImageToVideoPipeline(**pipeline.components, expand_timesteps=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def run_pipeline(pipeline: Any, scene: Scene, first: np.ndarray | None, seed: int) -> np.ndarray:
    """The frames (T,H,W,3) uint8 of the genuine pipeline."""
    image = {} if first is None else {"image": Image.fromarray(first)}
    made = pipeline(
        prompt=scene.caption,
        **SIZE,
        num_frames=scene.num_frames,
        num_inference_steps=FROM_NOISE.num_steps,
        guidance_scale=FROM_NOISE.guidance_scale,
        generator=torch.Generator().manual_seed(seed),
        output_type="np",
        **image,
    )
    return np.asarray((made.frames[0] * 255).round(), np.uint8)


def test_at_first_it_is_the_genuine_pipeline(checkpoint: Path, kind: str, wide: Clip) -> None:
    """With all conditions given: grafts of zero weights leave every bit as it is."""
    first = wide.frames[:, :1] if kind in WITH_FRAME else None
    ours = WorldModelGenerator.load(checkpoint).generate(wide.scene, first, seed=5, settings=FROM_NOISE)
    theirs = run_pipeline(load_pipeline(checkpoint, kind), wide.scene, None if first is None else first[0, 0], seed=5)
    assert np.array_equal(ours.frames[0], theirs)
    assert ours.frames.std() > 5


def test_a_lora_is_read_by_the_pipeline(checkpoint: Path, kind: str, tmp_path: Path) -> None:
    """``pipeline.load_lora_weights`` gives the transformer with the adapter merged."""
    model = load_world_model(checkpoint)
    set_trainable(model, "lora", rank=2)
    for name, value in model.named_parameters():
        if ".lora_" in name:
            torch.nn.init.normal_(value, std=0.3)
    save_adapters(copy_adapters(model), tmp_path)
    merge_adapter(model)
    pipeline = load_pipeline(checkpoint, kind)
    for name, merged in model.transformers.items():
        inputs = transformer_inputs(merged)
        before = getattr(pipeline, name)(**inputs)[0]
        second = {"load_into_transformer_2": True} if name == "transformer_2" else {}
        pipeline.load_lora_weights(tmp_path, weight_name=LORA_FILES[name], adapter_name=name, **second)
        after, expected = getattr(pipeline, name)(**inputs)[0], merged(**inputs)[0]
        torch.testing.assert_close(after, expected, atol=1e-4, rtol=1e-4)
        assert not torch.allclose(before, expected, atol=1e-3)


def transformer_inputs(transformer: WanTransformer3DModel) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    config = transformer.config
    embeds = {}
    if config.image_dim:
        embeds["encoder_hidden_states_image"] = torch.randn(1, 257, config.image_dim, generator=generator)
    return {
        "hidden_states": torch.randn(1, config.in_channels, 2, 4, 4, generator=generator),
        "timestep": torch.tensor([500.0]),
        "encoder_hidden_states": torch.randn(1, 512, config.text_dim, generator=generator),
        "return_dict": False,
        **embeds,
    }


@pytest.fixture(autouse=True)
def no_missing_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """The image-to-video pipeline uses ftfy without importing it where diffusers does not find it."""
    if not hasattr(pipeline_wan_i2v, "ftfy"):
        monkeypatch.setattr(pipeline_wan_i2v, "ftfy", SimpleNamespace(fix_text=lambda text: text), raising=False)


def test_every_condition_has_an_effect_once_the_grafts_have_weights(checkpoint: Path, wide: Clip) -> None:
    model = load_world_model(checkpoint)
    assert isinstance(model, ReleasedWorldModel)
    for name, value in model.named_parameters():
        if name.startswith("grafts"):
            torch.nn.init.normal_(value, std=0.3, generator=torch.Generator().manual_seed(len(name)))
    tensors = model.encoder.encode_conditions(wide.scene, wide.frames).map(lambda tensor: tensor[None])
    conditions = model.batch_conditions(tensors, ["driving-day"], ["a car"])
    noisy = torch.randn(tensors.warped.shape, generator=torch.Generator().manual_seed(0))
    drop = torch.tensor([True])
    changed = {
        "frames": conditions.without_frames(drop),
        "layout": conditions.without_layout(drop),
        "pose": conditions.without_pose(drop),
        "text": conditions.without_text(drop),
    }
    with torch.no_grad():
        full = model(noisy, torch.tensor([0.95]), conditions)
        for name, fewer in changed.items():
            assert not torch.allclose(model(noisy, torch.tensor([0.95]), fewer), full, atol=1e-6), name


def test_frames_are_counted_through_the_strides_of_the_codec(checkpoint: Path, kind: str, wide: Clip) -> None:
    encoder = load_clip_encoder(checkpoint)
    codec = encoder.codec
    cell = 16 if kind == "ti2v" else 8
    assert (codec.temporal_stride, codec.spatial_stride) == (4, cell)
    grid = (3, 32 // cell, 64 // cell)
    held = Clip(scene=replace(wide.scene, held_frames=2), frames=wide.frames)
    tensors = encoder.encode_clip(held, num_context_frames=5)
    assert tensors.latents.shape == tensors.warped.shape == (codec.channels, *grid)
    assert tensors.rays.shape == (24, *grid), "the rays of four frames"
    assert tensors.mask[0].amax((1, 2)).tolist() == [1, 1, 0], "five frames are two latent frames"
    assert (tensors.cell_weight[:2] > 0).all() and not tensors.cell_weight[2].any(), "held frames have no weight"
    rays = tensors.rays[:, 0].view(4, 6, *grid[1:])
    assert torch.equal(rays[0], rays[3]), "the first frame fills its latent frame"
    assert not torch.equal(tensors.rays[:6, 1], tensors.rays[6:12, 1])
    model = load_world_model(checkpoint)
    assert model.noise_distribution.context_frames == (2, 2)


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
@pytest.mark.parametrize("num_frames", [0, 1, 2, 5, 8, 9, 17])
def test_latent_frames_hold_whole_groups_of_frames(stride: int, num_frames: int) -> None:
    whole = count_frames(count_latent_frames(num_frames, stride), stride)
    assert whole <= num_frames < whole + stride or num_frames == whole == 0


def test_a_clip_that_the_model_cannot_take_is_named(checkpoint: Path, kind: str, wide: Clip) -> None:
    limits = read_limits(checkpoint)
    require_encodable([wide.scene], limits)
    step = 32 if kind == "ti2v" else 16
    camera = replace(wide.scene.cameras[0], height=40)
    with pytest.raises(UserError, match=rf"9 frames of 64x40, the model takes 1 \+ 4k frames .* multiples of {step}"):
        require_encodable([replace(wide.scene, cameras=(camera,))], limits)


def test_a_sampler_below_pure_noise_starts_from_the_warped_frame(checkpoint: Path, wide: Clip) -> None:
    model = load_world_model(checkpoint)
    tensors = model.encoder.encode_conditions(wide.scene, wide.frames).map(lambda tensor: tensor[None])
    conditions = model.batch_conditions(tensors, ["driving-day"], ["a car"])
    near = sample(model, conditions, 0, replace(FROM_NOISE, strength=0.05, guidance_scale=1.0, num_steps=1))
    far = sample(model, conditions, 0, replace(FROM_NOISE, guidance_scale=1.0))
    distance = [float((made - conditions.warped).square().mean()) for made in (near, far)]
    assert distance[0] < 0.1 * distance[1]


def test_a_step_cache_skips_blocks_and_tiles_decode_large_frames(checkpoint: Path, wide: Clip) -> None:
    generator = WorldModelGenerator.load(checkpoint)
    settings = replace(FROM_NOISE, num_steps=4)

    def make(**changes: Any) -> np.ndarray:
        return generator.generate(wide.scene, wide.frames[:, :1], seed=0, settings=replace(settings, **changes)).frames

    plain = make()
    assert np.array_equal(make(step_cache=1e-9), plain), "no step changes that little"
    assert not np.array_equal(make(step_cache=1e9), plain), "every step after the first reuses the blocks"
    assert np.array_equal(make(), plain), "the cache ends with the clip"
    assert np.array_equal(make(tiled_decoding=True), plain), "frames of less than a tile"


def test_a_long_clip_is_rolled_out(checkpoint: Path, wide: Clip) -> None:
    generator, first = WorldModelGenerator.load(checkpoint), wide.frames[:, :1]
    assert generator.model.trained_frames == read_limits(checkpoint).trained_frames >= 81
    chunks = replace(FROM_NOISE, num_steps=2, chunk_frames=5, overlap_frames=1, context_noise=0.1, anchor_share=0.1)
    short = Clip(scene=select_frames(wide.scene, np.arange(5)), frames=wide.frames[:, :5])
    made = generator.generate(wide.scene, first, seed=0, settings=chunks).frames
    assert made.shape == wide.frames.shape and made.std() > 5
    assert np.array_equal(made[:, :5], generator.generate(short.scene, first, seed=0, settings=chunks).frames)
    clean = generator.generate(wide.scene, first, seed=0, settings=replace(chunks, context_noise=0.0)).frames
    assert np.array_equal(made[:, :5], clean[:, :5]) and not np.array_equal(made[:, 5:], clean[:, 5:])


def test_experts_that_take_turns_give_the_same_clip(checkpoint: Path, kind: str, wide: Clip) -> None:
    if not kind.endswith("experts"):
        pytest.skip("the model has one transformer")
    both, taking_turns = WorldModelGenerator.load(checkpoint), WorldModelGenerator.load(checkpoint)
    assert isinstance(taking_turns.model, Wan22WorldModel)
    taking_turns.model.offload_idle_expert("cpu")
    made = [
        generator.generate(wide.scene, wide.frames[:, :1], seed=0, settings=FROM_NOISE).frames
        for generator in (both, taking_turns)
    ]
    assert np.array_equal(*made)


class TestDamagedFolders:
    @pytest.fixture
    def copy(self, checkpoint: Path, kind: str, tmp_path: Path) -> Path:
        if kind != "t2v-experts":
            pytest.skip("one kind is enough")
        return Path(shutil.copytree(checkpoint, tmp_path / "copy"))

    def test_a_missing_shard_is_named(self, copy: Path) -> None:
        shard = sorted((copy / "transformer_2").glob("*-00002-of-*.safetensors"))[0]
        shard.unlink()
        with pytest.raises(UserError, match=rf"{re.escape(shard.name)}: is missing, so the model is incomplete"):
            load_world_model(copy)

    def test_a_missing_expert_is_named(self, copy: Path) -> None:
        shutil.rmtree(copy / "transformer_2")
        with pytest.raises(UserError, match="has boundary_ratio, so it must hold transformer/ and transformer_2/"):
            load_world_model(copy)

    def test_a_missing_text_encoder_is_named(self, copy: Path) -> None:
        shutil.rmtree(copy / "text_encoder")
        with pytest.raises(UserError, match="text_encoder/ and tokenizer/ cannot be loaded"):
            load_world_model(copy).encode_captions(["a car"])

    def test_an_unknown_pipeline_is_named(self, copy: Path) -> None:
        edit_index(copy, _class_name="MochiPipeline")
        with pytest.raises(UserError, match="holds a MochiPipeline; supported pipelines: WanPipeline"):
            load_world_model(copy)

    def test_another_number_of_channels_is_named(self, copy: Path) -> None:
        edit_json(copy / "transformer" / "config.json", in_channels=7)
        with pytest.raises(UserError, match=r"takes 7 channels .* must take 4 \(text to video\) or 12"):
            load_world_model(copy)

    def test_a_foreign_scheduler_is_named(self, copy: Path) -> None:
        edit_json(copy / "scheduler" / "scheduler_config.json", _class_name="DDIMScheduler")
        with pytest.raises(UserError, match=r"must be one of UniPCMultistepScheduler, .*, got DDIMScheduler"):
            load_world_model(copy)


# The released configurations, parameter counts and shapes of some weights: the conversion scripts of diffusers.
_WAN = {"attention_head_dim": 128, "text_dim": 4096, "freq_dim": 256, "cross_attn_norm": True}
RELEASED: dict[str, tuple[dict[str, Any], float, tuple[int, ...]]] = {
    "2.1 T2V 1.3B": (
        {"num_attention_heads": 12, "num_layers": 30, "ffn_dim": 8960, "in_channels": 16, "out_channels": 16},
        1.419,
        (1536, 16, 1, 2, 2),
    ),
    "2.1 T2V 14B": (
        {"num_attention_heads": 40, "num_layers": 40, "ffn_dim": 13824, "in_channels": 16, "out_channels": 16},
        14.288,
        (5120, 16, 1, 2, 2),
    ),
    "2.1 I2V 14B": (
        {
            "num_attention_heads": 40,
            "num_layers": 40,
            "ffn_dim": 13824,
            "in_channels": 36,
            "out_channels": 16,
            "image_dim": 1280,
            "added_kv_proj_dim": 5120,
        },
        16.395,
        (5120, 36, 1, 2, 2),
    ),
    "2.2 I2V A14B": (
        {"num_attention_heads": 40, "num_layers": 40, "ffn_dim": 13824, "in_channels": 36, "out_channels": 16},
        14.289,
        (5120, 36, 1, 2, 2),
    ),
    "2.2 TI2V 5B": (
        {"num_attention_heads": 24, "num_layers": 30, "ffn_dim": 14336, "in_channels": 48, "out_channels": 48},
        5.000,
        (3072, 48, 1, 2, 2),
    ),
}


@pytest.mark.parametrize("name", RELEASED)
def test_released_configurations_take_the_grafts(name: str, tmp_path: Path) -> None:
    sizes, billions, patch_shape = RELEASED[name]
    with torch.device("meta"):
        transformer = WanTransformer3DModel(**_WAN, **sizes)
        is_5b = sizes["in_channels"] == 48
        vae = AutoencoderKLWan(
            **(
                {"base_dim": 160, "decoder_base_dim": 256, "z_dim": 48, "is_residual": True, "patch_size": 2}
                | {"in_channels": 12, "out_channels": 12, "scale_factor_spatial": 16}
                if is_5b
                else {}
            )
        )
    shapes = {key: tuple(value.shape) for key, value in transformer.state_dict().items()}
    assert sum(np.prod(shape) for shape in shapes.values()) / 1e9 == pytest.approx(billions, abs=6e-4)
    assert shapes["patch_embedding.weight"] == patch_shape
    vae_millions = sum(value.numel() for value in vae.parameters()) / 1e6
    assert vae_millions == pytest.approx(704.7 if is_5b else 126.9, abs=0.1)
    model = make_meta_model(name, transformer, vae, tmp_path)
    grafts = {key: tuple(value.shape) for key, value in model.state_dict().items() if key.startswith("grafts")}
    z, hidden = vae.config.z_dim, patch_shape[0]
    assert grafts["grafts.transformer.patch.weight"] == (hidden, 4 + 2 * z + 24 + 4, 1, 2, 2)
    assert grafts["grafts.transformer.domain.weight"] == (8, 6 * hidden)


def make_meta_model(name: str, transformer: WanTransformer3DModel, vae: AutoencoderKLWan, folder: Path) -> Any:
    from driveforge.finetune.world_model.clip_encoder import ClipEncoder
    from driveforge.finetune.world_model.families.wan import WanWorldModel
    from driveforge.finetune.world_model.text_encoder import TextEncoder
    from driveforge.finetune.world_model.wan_codec import WanCodec

    (folder / "scheduler").mkdir()
    scheduler = {"_class_name": "UniPCMultistepScheduler", "flow_shift": 3.0}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    family = WanWorldModel if name.startswith("2.1") else Wan22WorldModel
    text_encoder = TextEncoder(folder, torch.float32)
    with torch.device("meta"):
        domains = load_domains()
        return family(folder, {"transformer": transformer}, ClipEncoder(WanCodec(vae)), text_encoder, domains)


def load_domains() -> tuple[str, ...]:
    from driveforge.datasets.domains import ALL_DOMAINS

    return ALL_DOMAINS
