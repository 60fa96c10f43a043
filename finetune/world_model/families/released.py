"""What the released families share: grafted transformers of a diffusers pipeline, text embeddings, solvers, folders."""

import hashlib
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from diffusers import ModelMixin
from torch import Tensor, nn

from driveforge.datasets.errors import UserError
from driveforge.finetune.world_model.clip_encoder import ClipEncoder
from driveforge.finetune.world_model.codec import count_frames
from driveforge.finetune.world_model.grafts import Grafts
from driveforge.finetune.world_model.limits import ClipLimits
from driveforge.finetune.world_model.model import WorldModel, compute_model_digest, is_conditioning_weight
from driveforge.finetune.world_model.pipeline_folder import (
    GraftedConfig,
    load_grafts,
    make_scheduler,
    read_config,
    read_scheduler,
    require_checksums,
    save_grafted,
)
from driveforge.finetune.world_model.sampler_settings import SamplerSettings
from driveforge.finetune.world_model.sampling import noise_levels
from driveforge.finetune.world_model.serialization import load_part, read_part_config, save_part
from driveforge.finetune.world_model.solvers import FlowSolver, Solver, make_unipc_solver
from driveforge.finetune.world_model.text_encoder import BlankTextEncoder, TextEncoder, default_device
from driveforge.finetune.world_model.wan_codec import WanCodec

TOKEN_CELLS = 2


class ReleasedWorldModel(WorldModel):
    """A released pipeline of diffusers with grafts. At first the grafts have no effect: it is the released model.

    ``directory`` is the folder of the pipeline, whose other components a saved model shares.
    """

    family: ClassVar[str]
    transformer_class: ClassVar[type[ModelMixin]]
    # Vectors of the hidden size that the noise level gives to a block: shifts, scales and gates.
    modulations_per_block: ClassVar[int]
    # Frames of the clips that the released models generate.
    released_frames: ClassVar[int]
    codec_class: ClassVar[type[WanCodec]] = WanCodec
    # The transformers of a pipeline that may be absent from a folder.
    part_names: ClassVar[tuple[str, ...]] = ("transformer",)

    def __init__(
        self,
        directory: Path,
        transformers: Mapping[str, ModelMixin],
        encoder: ClipEncoder,
        text_encoder: TextEncoder | BlankTextEncoder,
        domains: tuple[str, ...],
        trained_frames: int | None = None,
    ) -> None:
        super().__init__(encoder, domains, trained_frames or self.released_frames)
        self.directory = directory
        self.text_encoder = text_encoder
        self._part_names = tuple(transformers)
        for name, transformer in transformers.items():
            self.add_module(name, transformer)
        self.grafts = nn.ModuleDict(
            {name: self._make_grafts(transformer).to(transformer.dtype) for name, transformer in transformers.items()}
        )
        self.scheduler_config = read_scheduler(directory)

    @property
    def device(self) -> torch.device:
        # That of the grafts: an idle transformer may be elsewhere.
        return next(self.grafts.parameters()).device

    def _make_grafts(self, transformer: ModelMixin) -> Grafts:
        hidden_size = transformer.config.num_attention_heads * transformer.config.attention_head_dim
        return Grafts(
            latent_channels=self.codec.channels,
            temporal_stride=self.codec.temporal_stride,
            hidden_size=hidden_size,
            modulation_size=self.modulations_per_block * hidden_size,
            num_domains=len(self.domains),
        )

    @property
    def transformers(self) -> Mapping[str, ModelMixin]:
        return {name: getattr(self, name) for name in self._part_names}

    @classmethod
    def from_pretrained(cls, directory: Path, dtype: torch.dtype = torch.float32) -> Self:
        """The model in a folder of a pipeline, released or saved by ``save_pretrained``, with weights as ``dtype``."""
        cls.require_pipeline(directory)
        config, names = read_config(directory, cls.family), cls.find_parts(directory)
        trained = cls.find_trained_frames(directory, config)
        require_checksums(directory, names)
        transformers = {name: load_part(cls.transformer_class, directory / name, dtype) for name in names}
        text_encoder = TextEncoder(directory, dtype, cls.clean_caption, default_device())
        model = cls(directory, transformers, cls.load_encoder(directory), text_encoder, config.domains, trained)
        expected = {n: tuple(v.shape) for n, v in model.state_dict().items() if is_conditioning_weight(n)}
        model.load_state_dict(load_grafts(directory, expected), strict=False)
        return model.eval()

    @classmethod
    def on_meta(cls, directory: Path) -> Self:
        cls.require_pipeline(directory)
        config, names = read_config(directory, cls.family), cls.find_parts(directory)
        trained = cls.find_trained_frames(directory, config)
        encoder = cls.make_encoder(directory, cls.codec_class.on_meta(directory))
        with torch.device("meta"):
            transformers = {
                name: cls.transformer_class(**read_part_config(cls.transformer_class, directory / name))
                for name in names
            }
            text_encoder = BlankTextEncoder(directory)
            return cls(directory, transformers, encoder, text_encoder, config.domains, trained).eval()

    @classmethod
    def require_pipeline(cls, directory: Path) -> None:
        """Raise UserError if the pipeline in ``directory`` is one that the family does not support."""

    @classmethod
    def find_parts(cls, directory: Path) -> list[str]:
        """The names of the transformers in ``directory``."""
        names = [name for name in cls.part_names if (directory / name).is_dir()]
        if not names:
            raise UserError(f"{directory}: transformer/ is missing, so the model is incomplete")
        return names

    @classmethod
    def find_trained_frames(cls, directory: Path, config: GraftedConfig) -> int:
        """The frames of the longest clips that the model in ``directory`` was trained on."""
        return config.num_frames or cls.released_frames

    @classmethod
    def load_encoder(cls, directory: Path) -> ClipEncoder:
        return cls.make_encoder(directory, cls.codec_class.from_pretrained(directory))

    @classmethod
    def make_encoder(cls, directory: Path, codec: WanCodec) -> ClipEncoder:
        """The clip encoder of the model in ``directory`` with its ``codec``."""
        return ClipEncoder(codec)

    @classmethod
    def compute_encoder_digest(cls, directory: Path) -> str:
        # Models with equal codecs differ in the other tensors of a clip.
        encoder = cls.make_encoder(directory, cls.codec_class.on_meta(directory))
        parts = [type(encoder).__name__, super().compute_encoder_digest(directory)]
        if (directory / "image_encoder").is_dir():
            parts.append(compute_model_digest(directory / "image_encoder"))
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]

    @classmethod
    @abstractmethod
    def max_tokens(cls, config: Mapping[str, Any]) -> tuple[int, int]:
        """The positions of latent frames, and of tokens along a side, of a transformer with this configuration."""

    @classmethod
    def read_limits(cls, directory: Path) -> ClipLimits:
        codec = cls.codec_class.on_meta(directory)
        config = read_part_config(cls.transformer_class, directory / cls.find_parts(directory)[0])
        frames, tokens = cls.max_tokens(config)
        token_px = TOKEN_CELLS * codec.spatial_stride
        return ClipLimits(
            frame_step=codec.frame_step,
            max_frames=count_frames(frames, codec.temporal_stride),
            side_step=token_px,
            max_side=token_px * tokens,
            temporal_stride=codec.temporal_stride,
            trained_frames=cls.find_trained_frames(directory, read_config(directory, cls.family)),
        )

    @staticmethod
    def clean_caption(caption: str) -> str:
        """The caption as the released pipeline gives it to its tokenizer."""
        return caption

    @classmethod
    def embed_captions(cls, directory: Path, captions: Iterable[str], dtype: torch.dtype, store: Path) -> None:
        text_encoder = TextEncoder(directory, dtype, cls.clean_caption, default_device())
        text_encoder.store = store
        text_encoder.encode(["", *captions])

    def use_text_store(self, folder: Path) -> None:
        self.text_encoder.store = folder

    def encode_captions(self, captions: Sequence[str]) -> Tensor:
        return self.text_encoder.encode(captions).to(self.device)

    @property
    def sigma_shift(self) -> float:
        return float(self.scheduler_config.get("flow_shift") or self.scheduler_config.get("shift") or 1.0)

    def make_solver(self, settings: SamplerSettings, *, has_frames: bool) -> Solver:
        """From pure noise, the scheduler of the pipeline; from a lower level, UniPC on the same levels, scaled."""
        if settings.sigmas or (has_frames and settings.strength < 1):
            return make_unipc_solver(noise_levels(settings, has_frames=has_frames, shift=self.sigma_shift))
        return self.make_pipeline_solver(settings.num_steps)

    def make_pipeline_solver(self, num_steps: int) -> Solver:
        """The solver of the released pipeline, from pure noise."""
        scheduler = make_scheduler(self.scheduler_config)
        scheduler.set_timesteps(num_steps)
        levels = [float(timestep) / 1000 for timestep in scheduler.timesteps]
        return FlowSolver(scheduler, levels, start_level=1.0)

    def save_pretrained(self, directory: Path, dtype: torch.dtype | None = None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        for name, transformer in self.transformers.items():
            save_part(transformer, directory / name, dtype)
        grafts = {name: value for name, value in self.state_dict().items() if is_conditioning_weight(name)}
        config = GraftedConfig(family=self.family, domains=self.domains, num_frames=self.trained_frames)
        save_grafted(directory, self.directory, self._part_names, config, grafts)
