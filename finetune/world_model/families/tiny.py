"""The tiny family: a Wan transformer that two cores can train, over a tiny VAE, preconditioned.

A saved folder has ``transformer/``, ``vae/``, ``conditioning.safetensors`` and ``world_model.json``.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from diffusers import ModelMixin, WanTransformer3DModel
from safetensors.torch import save_file
from torch import Tensor, nn

from driveforge.datasets.domains import ALL_DOMAINS
from driveforge.datasets.errors import UserError
from driveforge.datasets.files.json_record import read_record
from driveforge.finetune.world_model.captions import VOCABULARY_SIZE, caption_ids
from driveforge.finetune.world_model.clip_encoder import ClipEncoder
from driveforge.finetune.world_model.clip_tensors import MASK_CHANNELS, RAY_CHANNELS
from driveforge.finetune.world_model.codec import Codec, count_frames
from driveforge.finetune.world_model.conditions import Conditions
from driveforge.finetune.world_model.limits import ClipLimits
from driveforge.finetune.world_model.model import CONDITIONING_FILE, CONFIG_FILE, WorldModel, is_conditioning_weight
from driveforge.finetune.world_model.preconditioning import precondition
from driveforge.finetune.world_model.sampler_settings import SamplerSettings
from driveforge.finetune.world_model.sampling import noise_levels
from driveforge.finetune.world_model.serialization import (
    ADVICE,
    MAX_SIZE,
    PART_CONFIG_FILE,
    list_part_files,
    load_part,
    load_tensors,
    read_part_config,
    require_equal,
    safetensors_errors_as_os_errors,
    save_part,
    verify_checksums,
    write_checksums,
)
from driveforge.finetune.world_model.solvers import Solver, make_unipc_solver
from driveforge.finetune.world_model.tiny_vae import make_vae
from driveforge.finetune.world_model.wan_codec import WanCodec
from driveforge.finetune.world_model.wan_hooks import add_modulation, hooks_registered, repeat_rope_per_view

VIEW_CHANNELS = 4
MAX_VIEWS = 8
# Positions of the rotary embedding per axis: latent frames, rows and columns of tokens.
_ROPE_LENGTH = 64
_TOKEN_CELLS = 2
# Of the shipped base.
TRAINED_FRAMES = 17


@dataclass(frozen=True, kw_only=True, slots=True)
class TinyConfig:
    """Sizes of the transformer and the VAE; ``domains`` are those that have an embedding.

    ``patch_size`` is the side of a latent cell in pixels, ``temporal_stride`` the frames of a latent frame,
    ``num_frames`` those of the longest clips that it was trained on.
    """

    latent_channels: int = 32
    patch_size: int = 8
    temporal_stride: int = 1
    num_layers: int = 6
    num_heads: int = 3
    head_dim: int = 64
    ffn_dim: int = 576
    text_dim: int = 32
    num_frames: int = TRAINED_FRAMES
    domains: tuple[str, ...] = ALL_DOMAINS

    def __post_init__(self) -> None:
        sizes = {name: value for name, value in asdict(self).items() if name != "domains"}
        if bad := [f"{name} {value}" for name, value in sizes.items() if not 0 < value <= MAX_SIZE]:
            raise UserError(f"{bad[0]} must be 1 to {MAX_SIZE}")
        if len(set(self.domains)) != len(self.domains):
            raise UserError("domains must differ from each other")


class TinyWorldModel(WorldModel):
    """Predicts velocities with a Wan transformer that was trained with all conditions from the start.

    The input channels are noise | mask | warped first frames | layout | rays | view. The caption enters through
    cross-attention, the domain as a zero-initialized embedding that is added to the AdaLN modulation of every block.
    The transformer predicts the residual of ``preconditioning``, which needs ``latent_std`` (2, Z).
    """

    lora_targets = ("to_q", "to_k", "to_v", "to_out.0", "ffn.net.0.proj", "ffn.net.2")

    def __init__(self, config: TinyConfig, transformer: WanTransformer3DModel, codec: Codec) -> None:
        super().__init__(ClipEncoder(codec), config.domains, config.num_frames)
        self.config = config
        self.transformer = transformer
        self.caption = nn.Embedding(VOCABULARY_SIZE + 1, config.text_dim, padding_idx=0)
        self.view = nn.Embedding(MAX_VIEWS, VIEW_CHANNELS)
        modulation = transformer.condition_embedder.time_proj.out_features
        self.domain = nn.Embedding(len(config.domains) + 1, modulation, padding_idx=0)
        for embedding in (self.view, self.domain):
            nn.init.zeros_(embedding.weight)
        self.latent_std: Tensor
        self.register_buffer("latent_std", torch.ones(2, config.latent_channels))

    @classmethod
    def from_config(cls, config: TinyConfig, codec: Codec | None = None) -> Self:
        """A model with random weights from torch's global generator, and an untrained codec if None is given."""
        transformer = WanTransformer3DModel(**_transformer_config(config), freq_dim=64, rope_max_seq_len=_ROPE_LENGTH)
        # Zero output at the start: the first predictions are those of the preconditioning.
        nn.init.zeros_(transformer.proj_out.weight)
        nn.init.zeros_(transformer.proj_out.bias)
        return cls(config, transformer, codec or WanCodec(make_vae(config.latent_channels, config.patch_size)))

    @property
    def transformers(self) -> Mapping[str, ModelMixin]:
        return {"transformer": self.transformer}

    @property
    def device(self) -> torch.device:
        return self.view.weight.device

    def forward(self, noisy: Tensor, sigma: Tensor, conditions: Conditions) -> Tensor:
        c, preconditioning = conditions, precondition(noisy, sigma, conditions, self.latent_std)
        warped = c.warped / self.latent_std[0].view(-1, 1, 1, 1)
        views = self._view_channels(noisy, c.num_views)
        channels = torch.cat([preconditioning.network_input, *c.mask, warped, c.layout, c.rays, views], 1)
        hooks = {
            self.transformer.condition_embedder: add_modulation(self.domain(c.domain)),
            self.transformer.rope: repeat_rope_per_view(c.num_views),
        }
        with hooks_registered(hooks):
            output = self.transformer(channels, sigma * 1000, self.caption(c.text), return_dict=False)
        velocity: Tensor = preconditioning.mean + preconditioning.scale * output[0].float()
        return velocity

    def _view_channels(self, noisy: Tensor, num_views: int) -> Tensor:
        """The view embedding of each latent frame, (B,4,F,h,w); the frames of a view are contiguous."""
        batch, _, frames, height, width = noisy.shape
        ids = torch.arange(frames, device=noisy.device) // (frames // num_views)
        channels: Tensor = self.view(ids).T[None, :, :, None, None].expand(batch, -1, -1, height, width)
        return channels

    def encode_captions(self, captions: Sequence[str]) -> Tensor:
        return torch.tensor([caption_ids(text) for text in captions], device=self.device)

    def make_solver(self, settings: SamplerSettings, *, has_frames: bool) -> Solver:
        return make_unipc_solver(noise_levels(settings, has_frames=has_frames))

    def save_pretrained(self, directory: Path, dtype: torch.dtype | None = None) -> None:
        dtype = dtype or torch.float32
        directory.mkdir(parents=True, exist_ok=True)
        assert isinstance(self.codec, WanCodec)
        save_part(self.transformer, directory / "transformer", dtype)
        save_part(self.codec.vae, directory / "vae", dtype)
        conditioning = {name: value for name, value in self.state_dict().items() if is_conditioning_weight(name)}
        tensors = {name: value.to(dtype).contiguous() for name, value in conditioning.items()}
        with safetensors_errors_as_os_errors(directory):
            save_file(tensors, directory / CONDITIONING_FILE)
        config = replace(self.config, num_frames=self.trained_frames)
        (directory / CONFIG_FILE).write_text(json.dumps(asdict(config), indent=2) + "\n")
        write_checksums(directory)

    @classmethod
    def from_pretrained(cls, directory: Path, dtype: torch.dtype = torch.float32) -> Self:
        """The model in ``directory``; ``dtype`` is ignored, since a tiny model is always in single precision."""
        config = _read_config(directory)
        verify_checksums(directory, [CONFIG_FILE, CONDITIONING_FILE, *list_part_files(directory, "transformer")])
        transformer = load_part(WanTransformer3DModel, directory / "transformer")
        require_equal(directory / "transformer" / PART_CONFIG_FILE, transformer.config, _transformer_config(config))
        if transformer.config.rope_max_seq_len < _ROPE_LENGTH or not 0 < transformer.config.eps < 1e-2:
            raise UserError(
                f"{directory / 'transformer' / PART_CONFIG_FILE}: rope_max_seq_len must be {_ROPE_LENGTH} or more "
                f"and eps above 0 and below 0.01; {ADVICE}"
            )
        codec = WanCodec.from_pretrained(directory)
        _require_codec(directory / "vae" / PART_CONFIG_FILE, codec, config)
        model = cls(config, transformer, codec)
        conditioning = {
            name: tuple(value.shape) for name, value in model.state_dict().items() if is_conditioning_weight(name)
        }
        model.load_state_dict(load_tensors(directory / CONDITIONING_FILE, conditioning), strict=False)
        if not bool((model.latent_std > 0).all()):
            raise UserError(f"{directory / CONDITIONING_FILE}: latent_std must be above 0; {ADVICE}")
        return model.eval()

    @classmethod
    def on_meta(cls, directory: Path) -> Self:
        transformer_config = read_part_config(WanTransformer3DModel, directory / "transformer")
        codec = WanCodec.on_meta(directory)
        with torch.device("meta"):
            return cls(_read_config(directory), WanTransformer3DModel(**transformer_config), codec).eval()

    @classmethod
    def load_encoder(cls, directory: Path) -> ClipEncoder:
        return ClipEncoder(WanCodec.from_pretrained(directory))

    @classmethod
    def read_limits(cls, directory: Path) -> ClipLimits:
        codec = WanCodec.on_meta(directory)
        limits = limits_of_strides(codec.spatial_stride, codec.temporal_stride)
        if not (directory / CONFIG_FILE).is_file():  # the VAE of a base that is not trained yet
            return limits
        return replace(limits, trained_frames=_read_config(directory).num_frames)


def limits_of_strides(spatial_stride: int, temporal_stride: int) -> ClipLimits:
    """The clips that a tiny model takes with a codec of these strides."""
    token_px = _TOKEN_CELLS * spatial_stride
    longest = count_frames(_ROPE_LENGTH, temporal_stride)
    return ClipLimits(
        frame_step=WanCodec.frame_step,
        max_frames=longest - (longest - 1) % WanCodec.frame_step,
        side_step=token_px,
        max_side=token_px * _ROPE_LENGTH,
        temporal_stride=temporal_stride,
        trained_frames=TRAINED_FRAMES,
    )


def _read_config(directory: Path) -> TinyConfig:
    if not (directory / CONFIG_FILE).is_file():
        raise UserError(
            f"{directory} holds no world model: {CONFIG_FILE} is missing; give model.checkpoint a saved model"
        )
    verify_checksums(directory, [CONFIG_FILE])
    return read_record(directory / CONFIG_FILE, TinyConfig, ADVICE)


def _require_codec(path: Path, codec: WanCodec, config: TinyConfig) -> None:
    found = {"z_dim": codec.channels, "patch_size": codec.spatial_stride, "temporal_stride": codec.temporal_stride}
    expected = {
        "z_dim": config.latent_channels,
        "patch_size": config.patch_size,
        "temporal_stride": config.temporal_stride,
    }
    require_equal(path, found, expected)


def _transformer_config(config: TinyConfig) -> dict[str, Any]:
    z, rays = config.latent_channels, config.temporal_stride * RAY_CHANNELS
    return {
        "patch_size": (1, _TOKEN_CELLS, _TOKEN_CELLS),
        "num_attention_heads": config.num_heads,
        "attention_head_dim": config.head_dim,
        "in_channels": z + MASK_CHANNELS + z + z + rays + VIEW_CHANNELS,
        "out_channels": z,
        "text_dim": config.text_dim,
        "ffn_dim": config.ffn_dim,
        "num_layers": config.num_layers,
    }
