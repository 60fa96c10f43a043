"""The world model: one class over diffusers' Wan parts, tiny by default, the same code at production size."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from safetensors.torch import save_file
from torch import Tensor, nn

from driveforge.datasets.domains import ALL_DOMAINS
from driveforge.datasets.errors import UserError
from driveforge.datasets.files.json_record import read_record
from driveforge.finetune.world_model.captions import VOCABULARY_SIZE
from driveforge.finetune.world_model.clip_tensors import MASK_CHANNELS, RAY_CHANNELS
from driveforge.finetune.world_model.conditions import Conditions
from driveforge.finetune.world_model.preconditioning import precondition
from driveforge.finetune.world_model.serialization import (
    ADVICE,
    MAX_SIZE,
    PART_CONFIG_FILE,
    list_part_files,
    load_part,
    load_tensors,
    require_equal,
    safetensors_errors_as_os_errors,
    verify_checksums,
    write_checksums,
)
from driveforge.finetune.world_model.vae import load_vae, make_vae

CONFIG_FILE, CONDITIONING_FILE = "world_model.json", "conditioning.safetensors"
VIEW_CHANNELS = 4
MAX_VIEWS = 8
# Positions of the rotary embedding per axis: frames, rows and columns.
_ROPE_LENGTH = 64

ForwardHook = Callable[[nn.Module, object, Sequence[Tensor]], tuple[Tensor, ...]]


@dataclass(frozen=True, kw_only=True, slots=True)
class WorldModelConfig:
    """Sizes of the transformer and the VAE; ``domains`` are those that have an embedding."""

    latent_channels: int = 32
    patch_size: int = 8
    num_layers: int = 6
    num_heads: int = 3
    head_dim: int = 64
    ffn_dim: int = 576
    text_dim: int = 32
    domains: tuple[str, ...] = ALL_DOMAINS

    def __post_init__(self) -> None:
        sizes = {name: value for name, value in asdict(self).items() if name != "domains"}
        if bad := [f"{name} {value}" for name, value in sizes.items() if not 0 < value <= MAX_SIZE]:
            raise UserError(f"{bad[0]} must be 1 to {MAX_SIZE}")
        if len(set(self.domains)) != len(self.domains):
            raise UserError("domains must differ from each other")


class WorldModel(nn.Module):
    """Predicts the velocity of a noisy latent video under ``Conditions``.

    The input channels are noise | mask | warped first frames | layout | rays | view. The caption enters through
    cross-attention, the domain as a zero-initialized embedding that is added to the AdaLN modulation of every block.
    The transformer predicts the residual of ``preconditioning``, which needs ``latent_std`` (2, Z).
    ``vae`` is frozen and is not a submodule, so it is in neither the optimizer nor the checkpoints.
    """

    def __init__(self, config: WorldModelConfig, transformer: WanTransformer3DModel, vae: AutoencoderKLWan) -> None:
        super().__init__()
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
        self._frozen = [vae.eval().requires_grad_(False)]

    @classmethod
    def from_config(cls, config: WorldModelConfig, vae: AutoencoderKLWan | None = None) -> "WorldModel":
        """A model with random weights from torch's global generator, and an untrained VAE if None is given."""
        transformer = WanTransformer3DModel(**_transformer_config(config), freq_dim=64, rope_max_seq_len=_ROPE_LENGTH)
        # Zero output at the start: the first predictions are those of the preconditioning.
        nn.init.zeros_(transformer.proj_out.weight)
        nn.init.zeros_(transformer.proj_out.bias)
        return cls(config, transformer, vae or make_vae(config.latent_channels, config.patch_size))

    @property
    def vae(self) -> AutoencoderKLWan:
        return self._frozen[0]

    @property
    def device(self) -> torch.device:
        return self.view.weight.device

    def forward(self, noisy: Tensor, sigma: Tensor, conditions: Conditions) -> Tensor:
        """Velocity (B,Z,F,h,w), noise minus data, of ``noisy`` (B,Z,F,h,w) at noise level ``sigma`` (B,) in 0..1."""
        c, preconditioning = conditions, precondition(noisy, sigma, conditions, self.latent_std)
        warped = c.warped / self.latent_std[0].view(-1, 1, 1, 1)
        views = self._view_channels(noisy, c.num_views)
        channels = torch.cat([preconditioning.network_input, *c.mask, warped, c.layout, c.rays, views], 1)
        # Hooks, because Wan's forward has no arguments for the domain and for views. They last for this call only.
        hooks = [
            self.transformer.condition_embedder.register_forward_hook(_add_modulation(self.domain(c.domain))),
            self.transformer.rope.register_forward_hook(_repeat_per_view(c.num_views)),
        ]
        try:
            output = self.transformer(channels, sigma * 1000, self.caption(c.caption), return_dict=False)
            velocity: Tensor = preconditioning.mean + preconditioning.scale * output[0].float()
            return velocity
        finally:
            for hook in hooks:
                hook.remove()

    def _view_channels(self, noisy: Tensor, num_views: int) -> Tensor:
        """The view embedding of each latent frame, (B,4,F,h,w); the frames of a view are contiguous."""
        batch, _, frames, height, width = noisy.shape
        ids = torch.arange(frames, device=noisy.device) // (frames // num_views)
        channels: Tensor = self.view(ids).T[None, :, :, None, None].expand(batch, -1, -1, height, width)
        return channels

    def digest(self) -> str:
        """sha256, 16 hex digits, of the weights without the VAE's."""
        digest = hashlib.sha256()
        for name, value in self.state_dict().items():
            digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()[:16]

    def save_pretrained(self, directory: Path, dtype: torch.dtype = torch.float32) -> None:
        """Write ``transformer/``, ``vae/``, ``conditioning.safetensors``, ``world_model.json`` and ``SHA256SUMS``."""
        directory.mkdir(parents=True, exist_ok=True)
        for name, part in (("transformer", self.transformer), ("vae", self.vae)):
            # Without the path that a part was loaded from, the same weights give the same bytes.
            copy = type(part).from_config({k: v for k, v in part.config.items() if k != "_name_or_path"})
            copy.load_state_dict(part.state_dict())
            for parameter in copy.parameters():  # diffusers' own .to() would keep some of them in float32
                parameter.data = parameter.data.to(dtype)
            with safetensors_errors_as_os_errors(directory):
                copy.save_pretrained(directory / name)
        conditioning = {name: value for name, value in self.state_dict().items() if _is_conditioning_weight(name)}
        tensors = {name: value.to(dtype).contiguous() for name, value in conditioning.items()}
        with safetensors_errors_as_os_errors(directory):
            save_file(tensors, directory / CONDITIONING_FILE)
        (directory / CONFIG_FILE).write_text(json.dumps(asdict(self.config), indent=2) + "\n")
        write_checksums(directory)

    @classmethod
    def from_pretrained(cls, directory: Path) -> "WorldModel":
        """The model that ``save_pretrained`` wrote, as float32 in evaluation mode.

        Raises UserError, with the file and the key or tensor in it, if something is missing or does not fit.
        """
        if not (directory / CONFIG_FILE).is_file():
            raise UserError(
                f"{directory} holds no world model: {CONFIG_FILE} is missing; give model.checkpoint a saved model"
            )
        verify_checksums(directory, [CONFIG_FILE, CONDITIONING_FILE, *list_part_files(directory, "transformer")])
        config = read_record(directory / CONFIG_FILE, WorldModelConfig, ADVICE)
        transformer = load_part(WanTransformer3DModel, directory / "transformer")
        require_equal(directory / "transformer" / PART_CONFIG_FILE, transformer.config, _transformer_config(config))
        if transformer.config.rope_max_seq_len < _ROPE_LENGTH or not 0 < transformer.config.eps < 1e-2:
            raise UserError(
                f"{directory / 'transformer' / PART_CONFIG_FILE}: rope_max_seq_len must be {_ROPE_LENGTH} or more "
                f"and eps above 0 and below 0.01; {ADVICE}"
            )
        vae = load_vae(directory)
        vae_sizes = {"z_dim": config.latent_channels, "patch_size": config.patch_size}
        require_equal(directory / "vae" / PART_CONFIG_FILE, vae.config, vae_sizes)
        model = cls(config, transformer, vae)
        conditioning = {
            name: tuple(value.shape) for name, value in model.state_dict().items() if _is_conditioning_weight(name)
        }
        model.load_state_dict(load_tensors(directory / CONDITIONING_FILE, conditioning), strict=False)
        if not bool((model.latent_std > 0).all()):
            raise UserError(f"{directory / CONDITIONING_FILE}: latent_std must be above 0; {ADVICE}")
        return model.eval()


def compute_model_digest(directory: Path) -> str:
    """sha256, 16 hex digits, over the names and bytes of every weight and configuration file of a saved model."""
    if not directory.is_dir():
        raise UserError(f"{directory}: holds no saved model; {ADVICE}")
    digest = hashlib.sha256()
    for name in sorted(_digested_files(directory)):
        digest.update(name.encode() + b"\0" + (directory / name).read_bytes())
    return digest.hexdigest()[:16]


def _digested_files(directory: Path) -> Iterator[str]:
    """All files that may be read of a model or a part, also of a part that is a link to a folder."""
    for folder in (directory, *(path for path in directory.iterdir() if path.is_dir())):
        for path in folder.iterdir():
            if path.suffix in {".safetensors", ".json"} and path.is_file():
                yield path.relative_to(directory).as_posix()


def _transformer_config(config: WorldModelConfig) -> dict[str, Any]:
    z = config.latent_channels
    return {
        "patch_size": (1, 2, 2),
        "num_attention_heads": config.num_heads,
        "attention_head_dim": config.head_dim,
        "in_channels": z + MASK_CHANNELS + z + z + RAY_CHANNELS + VIEW_CHANNELS,
        "out_channels": z,
        "text_dim": config.text_dim,
        "ffn_dim": config.ffn_dim,
        "num_layers": config.num_layers,
    }


def _is_conditioning_weight(name: str) -> bool:
    return not name.startswith("transformer.")


def _add_modulation(extra: Tensor) -> ForwardHook:
    """A hook on Wan's condition embedder that adds ``extra`` (B, 6 D) to the time modulation of every block."""

    def hook(_module: nn.Module, _inputs: object, outputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        temb, modulation, *rest = outputs
        return temb, modulation + extra.to(modulation.dtype), *rest

    return hook


def _repeat_per_view(num_views: int) -> ForwardHook:
    """A hook on Wan's rotary embedding: the frames of every view are numbered from zero, so equal times match."""

    def hook(_module: nn.Module, _inputs: object, outputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return tuple(x[:, : x.shape[1] // num_views].repeat(1, num_views, 1, 1) for x in outputs)

    return hook
