"""The world model: one class over diffusers' Wan parts, tiny by default, the same code at production size."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from datasets.errors import UserError
from finetune.captions import VOCABULARY
from finetune.conditions import MASK_CHANNELS, RAY_CHANNELS, Conditions
from finetune.preconditioning import precondition
from finetune.vae import load_vae, make_vae

VIEW_CHANNELS = 4
MAX_VIEWS = 8
DRIVING_DOMAINS = ("driving-day", "driving-dusk", "driving-rain")
OTHER_DOMAINS = ("orbit", "handheld", "falling", "walkers")


@dataclass(frozen=True, kw_only=True, slots=True)
class WorldModelConfig:
    """Sizes of the transformer and of the codec; ``domains`` are those that have an embedding of their own."""

    latent_channels: int = 32
    patch_size: int = 8
    num_layers: int = 6
    num_heads: int = 3
    head_dim: int = 64
    ffn_dim: int = 576
    text_dim: int = 32
    domains: tuple[str, ...] = DRIVING_DOMAINS + OTHER_DOMAINS


class WorldModel(nn.Module):
    """Velocity of a noisy latent video under ``Conditions``.

    Every condition enters as channels (noise | mask | carried first frames | layout | rays | view); the caption through
    cross-attention; the domain as a zero-initialised embedding that is added to the AdaLN modulation of every block.
    The transformer speaks about what ``preconditioning`` leaves open; ``latent_std`` (2, Z) is what that needs.
    The codec ``vae`` rides along frozen: it is no submodule, so neither optimiser nor checkpoint sees it.
    """

    def __init__(self, config: WorldModelConfig, transformer: WanTransformer3DModel, vae: AutoencoderKLWan) -> None:
        super().__init__()
        self.config = config
        self.transformer = transformer
        self.caption = nn.Embedding(VOCABULARY + 1, config.text_dim, padding_idx=0)
        self.view = nn.Embedding(MAX_VIEWS, VIEW_CHANNELS)
        modulation = transformer.condition_embedder.time_proj.out_features
        self.domain = nn.Embedding(len(config.domains) + 1, modulation, padding_idx=0)
        for embedding in (self.view, self.domain):
            nn.init.zeros_(embedding.weight)
        self.latent_std: Tensor
        self.register_buffer("latent_std", torch.ones(2, config.latent_channels))
        self._frozen = [vae.eval().requires_grad_(False)]

    @classmethod
    def make(cls, config: WorldModelConfig, vae: AutoencoderKLWan | None = None) -> "WorldModel":
        """A model with fresh weights, and a fresh codec where none is given; seed torch before."""
        z = config.latent_channels
        transformer = WanTransformer3DModel(
            patch_size=(1, 2, 2),
            num_attention_heads=config.num_heads,
            attention_head_dim=config.head_dim,
            in_channels=z + MASK_CHANNELS + z + z + RAY_CHANNELS + VIEW_CHANNELS,
            out_channels=z,
            text_dim=config.text_dim,
            freq_dim=64,
            ffn_dim=config.ffn_dim,
            num_layers=config.num_layers,
            rope_max_seq_len=64,
        )
        # A silent start: the first predictions are those of the preconditioning.
        nn.init.zeros_(transformer.proj_out.weight)
        nn.init.zeros_(transformer.proj_out.bias)
        return cls(config, transformer, vae or make_vae(z, config.patch_size))

    @property
    def vae(self) -> AutoencoderKLWan:
        return self._frozen[0]

    @property
    def device(self) -> torch.device:
        return self.view.weight.device

    def forward(self, noisy: Tensor, sigma: Tensor, conditions: Conditions) -> Tensor:
        """Velocity (B,Z,F,h,w), noise minus data, of ``noisy`` (B,Z,F,h,w) at noise level ``sigma`` (B,) in 0..1."""
        c, known = conditions, precondition(noisy, sigma, conditions, self.latent_std)
        carried = c.carried / self.latent_std[0].view(-1, 1, 1, 1)
        views = self._view_channels(noisy, c.num_views)
        channels = torch.cat([known.evidence, c.mask, carried, c.layout, c.rays, views], 1)
        hooks = [
            self.transformer.condition_embedder.register_forward_hook(_add_modulation(self.domain(c.domain))),
            self.transformer.rope.register_forward_hook(_repeat_per_view(c.num_views)),
        ]
        try:
            output = self.transformer(channels, sigma * 1000, self.caption(c.caption), return_dict=False)
            velocity: Tensor = known.mean + known.scale * output[0].float()
            return velocity
        finally:
            for hook in hooks:
                hook.remove()

    def _view_channels(self, noisy: Tensor, num_views: int) -> Tensor:
        """(B,4,F,h,w): which camera a latent frame belongs to; the frames of a view lie together."""
        batch, _, frames, height, width = noisy.shape
        ids = torch.arange(frames, device=noisy.device) // (frames // num_views)
        channels: Tensor = self.view(ids).T[None, :, :, None, None].expand(batch, -1, -1, height, width)
        return channels

    def save_pretrained(self, directory: Path, dtype: torch.dtype = torch.float32) -> None:
        """Write ``transformer/``, ``vae/``, ``conditioning.safetensors`` and ``world_model.json``."""
        directory.mkdir(parents=True, exist_ok=True)
        for name, part in (("transformer", self.transformer), ("vae", self.vae)):
            # Where a part was loaded from is no property of it: the same weights give the same bytes.
            copy = type(part).from_config({k: v for k, v in part.config.items() if k != "_name_or_path"})
            copy.load_state_dict(part.state_dict())
            for parameter in copy.parameters():  # diffusers' own .to() would keep some of them in float32
                parameter.data = parameter.data.to(dtype)
            copy.save_pretrained(directory / name)
        own = {name: value for name, value in self.state_dict().items() if not name.startswith("transformer.")}
        words = {name: value.to(dtype).contiguous() for name, value in own.items()}
        save_file(words, directory / "conditioning.safetensors")
        (directory / "world_model.json").write_text(json.dumps(asdict(self.config), indent=2) + "\n")

    @classmethod
    def from_pretrained(cls, directory: Path) -> "WorldModel":
        """Read what ``save_pretrained`` wrote, as float32 in evaluation mode; a UserError names what is missing."""
        config_file = directory / "world_model.json"
        if not config_file.is_file():
            raise UserError(
                f"{directory} holds no world model: {config_file.name} is missing; give model.checkpoint a saved model"
            )
        record = json.loads(config_file.read_text())
        config = WorldModelConfig(**{**record, "domains": tuple(record["domains"])})
        try:
            transformer = WanTransformer3DModel.from_pretrained(directory / "transformer", torch_dtype=torch.float32)
            vae = load_vae(directory)
            words = load_file(directory / "conditioning.safetensors")
        except OSError as error:
            raise UserError(f"world model {directory} is incomplete: {str(error).splitlines()[0]}") from error
        model = cls(config, transformer, vae)
        missing = model.load_state_dict(words, strict=False).missing_keys
        assert all(name.startswith("transformer.") for name in missing), "the rest is in conditioning.safetensors"
        return model.eval()


def model_digest(directory: Path) -> str:
    """sha256, 16 hex digits, over the names and bytes of every weight and configuration file of a saved model."""
    digest = hashlib.sha256()
    for path in sorted(p for p in directory.rglob("*") if p.suffix in {".safetensors", ".json"}):
        digest.update(str(path.relative_to(directory)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _add_modulation(extra: Tensor):  # type: ignore[no-untyped-def]
    """A hook on Wan's condition embedder: ``extra`` (B, 6 D) joins the time modulation that every block reads."""

    def hook(_module: nn.Module, _inputs: object, outputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        temb, modulation, *rest = outputs
        return temb, modulation + extra.to(modulation.dtype), *rest

    return hook


def _repeat_per_view(num_views: int):  # type: ignore[no-untyped-def]
    """A hook on Wan's rotary embedding: each view counts its frames from zero, so views share a clock."""

    def hook(_module: nn.Module, _inputs: object, outputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return tuple(x[:, : x.shape[1] // num_views].repeat(1, num_views, 1, 1) for x in outputs)

    return hook
