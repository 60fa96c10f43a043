"""Small random checkpoints of the genuine classes, with every component of a released pipeline."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLWan,
    Cosmos2VideoToWorldPipeline,
    CosmosTransformer3DModel,
    FlowMatchEulerDiscreteScheduler,
    UniPCMultistepScheduler,
    WanImageToVideoPipeline,
    WanPipeline,
    WanTransformer3DModel,
)
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
    UMT5Config,
    UMT5EncoderModel,
)

TEXT_DIM, IMAGE_DIM = 32, 32
_WORDS = [
    "a",
    "an",
    "the",
    "of",
    "in",
    "on",
    "with",
    "day",
    "dusk",
    "night",
    "rain",
    "street",
    "road",
    "car",
    "cars",
    "truck",
    "bus",
    "ahead",
    "city",
    "camera",
    "blurry",
]


def make_wan(folder: Path, kind: str, **index: Any) -> Path:
    """A pipeline in ``folder``: ``t2v``, ``i2v`` (with CLIP), ``ti2v`` (5B), ``t2v-experts`` or ``i2v-experts``."""
    torch.manual_seed(7)
    is_image, has_clip = kind in ("i2v", "i2v-experts"), kind == "i2v"
    vae = make_wan22_vae() if kind == "ti2v" else make_wan21_vae()
    z = vae.config.z_dim
    sizes = {"in_channels": 2 * z + 4 if is_image else z, "out_channels": z}
    clip = {"image_dim": IMAGE_DIM, "added_kv_proj_dim": 48} if has_clip else {}
    parts: dict[str, Any] = {
        "vae": vae,
        "tokenizer": make_tokenizer(),
        "text_encoder": make_umt5(),
        "transformer": make_wan_transformer(**sizes, **clip),
        "scheduler": UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=5.0 if kind == "ti2v" else 3.0
        ),
    }
    if kind.endswith("experts"):
        parts |= {"transformer_2": make_wan_transformer(**sizes), "boundary_ratio": 0.9 if is_image else 0.875}
    if kind == "ti2v":
        parts["expand_timesteps"] = True
    if not is_image:
        WanPipeline(**parts).save_pretrained(folder, max_shard_size="100KB")
        return folder
    parts |= {"image_encoder": make_clip() if has_clip else None}
    parts |= {"image_processor": CLIPImageProcessor(size=16, crop_size=16) if has_clip else None}
    WanImageToVideoPipeline(**parts).save_pretrained(folder, max_shard_size="100KB")
    return folder


def make_wan_transformer(**sizes: Any) -> WanTransformer3DModel:
    transformer = WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=24,
        num_layers=2,
        ffn_dim=64,
        text_dim=TEXT_DIM,
        freq_dim=32,
        rope_max_seq_len=64,
        **sizes,
    )
    return transformer.eval()


class SafetyChecker:
    """Accepts everything, in place of the package ``cosmos_guardrail``."""

    def to(self, device: Any) -> None:
        """Nothing to move."""

    def check_text_safety(self, prompt: str) -> bool:
        return True

    def check_video_safety(self, frames: Any) -> Any:
        return frames


def make_cosmos2(folder: Path) -> Path:
    """A pipeline Cosmos-Predict2 Video2World in ``folder``, without a safety checker."""
    torch.manual_seed(7)
    vae = make_wan21_vae()
    transformer = CosmosTransformer3DModel(
        in_channels=vae.config.z_dim + 1,
        out_channels=vae.config.z_dim,
        num_attention_heads=2,
        attention_head_dim=24,
        num_layers=2,
        mlp_ratio=2.0,
        text_embed_dim=TEXT_DIM,
        adaln_lora_dim=16,
        max_size=(16, 40, 40),
        rope_scale=(1.0, 3.0, 3.0),
        extra_pos_embed_type=None,
    )
    text_config = T5Config(vocab_size=64, d_model=TEXT_DIM, d_kv=8, d_ff=48, num_layers=2, num_heads=4)
    pipeline = Cosmos2VideoToWorldPipeline(
        text_encoder=T5EncoderModel(text_config).eval(),
        tokenizer=make_tokenizer(),
        transformer=transformer.eval(),
        vae=vae,
        scheduler=FlowMatchEulerDiscreteScheduler(use_karras_sigmas=True),
        safety_checker=SafetyChecker(),
    )
    pipeline.register_modules(safety_checker=None)
    pipeline.save_pretrained(folder, max_shard_size="100KB")
    return folder


def make_wan21_vae() -> AutoencoderKLWan:
    """Strides 4 and 8, as Wan 2.1 and Cosmos-Predict2, with four latent channels."""
    return AutoencoderKLWan(
        base_dim=4,
        z_dim=4,
        num_res_blocks=1,
        latents_mean=[-0.7571, -0.7089, -0.9113, 0.1075],
        latents_std=[2.8184, 1.4541, 2.3275, 2.6558],
    ).eval()


def make_wan22_vae() -> AutoencoderKLWan:
    """Strides 4 and 16, as Wan 2.2's 5B model, with six latent channels."""
    return AutoencoderKLWan(
        base_dim=8,
        decoder_base_dim=8,
        z_dim=6,
        num_res_blocks=1,
        latents_mean=[-0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174],
        latents_std=[0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.4990],
        is_residual=True,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_spatial=16,
    ).eval()


def make_umt5() -> UMT5EncoderModel:
    config = UMT5Config(
        vocab_size=64, d_model=TEXT_DIM, d_kv=8, d_ff=48, num_layers=2, num_heads=4, feed_forward_proj="gated-gelu"
    )
    return UMT5EncoderModel(config).eval()


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of whole words that pads and ends captions as T5's does."""
    vocabulary = {"<pad>": 0, "</s>": 1, "<unk>": 2} | {word: 3 + n for n, word in enumerate(_WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=512
    )


def make_clip() -> CLIPVisionModelWithProjection:
    config = CLIPVisionConfig(
        hidden_size=IMAGE_DIM,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=16,
        patch_size=8,
        projection_dim=16,
    )
    return CLIPVisionModelWithProjection(config).eval()


def edit_index(folder: Path, **changes: Any) -> None:
    """Change keys of ``model_index.json``."""
    edit_json(folder / "model_index.json", **changes)


def edit_json(path: Path, **changes: Any) -> None:
    """Change keys of a JSON object."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
