"""The interface of world models: what training, evaluation and sampling use of any family."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Self

import torch
from diffusers import ModelMixin
from torch import Tensor, nn

from driveforge.datasets.errors import UserError
from driveforge.finetune.world_model.clip_encoder import ClipEncoder
from driveforge.finetune.world_model.clip_tensors import ConditionTensors
from driveforge.finetune.world_model.codec import Codec, count_latent_frames
from driveforge.finetune.world_model.conditions import Conditions
from driveforge.finetune.world_model.continuation import CONTEXT_FRAMES
from driveforge.finetune.world_model.flow import SIGMA_SHIFT, NoiseDistribution
from driveforge.finetune.world_model.limits import ClipLimits
from driveforge.finetune.world_model.sampler_settings import SamplerSettings
from driveforge.finetune.world_model.serialization import ADVICE
from driveforge.finetune.world_model.solvers import Solver

# Of a folder that driveforge saved: the family, the domains and sizes; and the weights that are not in a transformer.
CONFIG_FILE, CONDITIONING_FILE = "world_model.json", "conditioning.safetensors"
_CHUNK_BYTES = 2**24
# What diffusers' transformers call the lists of their blocks.
_BLOCK_LISTS = ("blocks", "transformer_blocks")


class WorldModel(nn.Module, ABC):
    """Predicts the velocity of a noisy latent video under ``Conditions``; one subclass per family.

    Shape legend: B batch, Z latent channels, F latent frames of all views (views one after the other), h w latent grid.
    The encoder is frozen and is not a submodule, so it is in neither the optimizer nor the checkpoints.
    """

    # Whether context frames are fed clean in place of noise; otherwise the family gets them through ``image``.
    has_clean_context: ClassVar[bool] = True
    # Names of the linear layers that LoRA adapts.
    lora_targets: ClassVar[tuple[str, ...]]

    def __init__(self, encoder: ClipEncoder, domains: tuple[str, ...], trained_frames: int) -> None:
        super().__init__()
        self.domains = domains
        # The frames of the longest clips that it was trained on.
        self.trained_frames = trained_frames
        self._frozen = [encoder]

    @classmethod
    @abstractmethod
    def from_pretrained(cls, directory: Path, dtype: torch.dtype = torch.float32) -> Self:
        """The model in ``directory``, in evaluation mode, with weights as ``dtype``.

        Raises UserError, with the file and the key or tensor in it, if something is missing or does not fit.
        """

    @classmethod
    @abstractmethod
    def on_meta(cls, directory: Path) -> Self:
        """The model in ``directory`` on the meta device, of its configuration files only: shapes without values.

        Captions are embedded as zeros of the right shape. Raises UserError as ``from_pretrained``.
        """

    @classmethod
    @abstractmethod
    def load_encoder(cls, directory: Path) -> ClipEncoder:
        """The clip encoder of the model in ``directory``, without its transformer."""

    @classmethod
    @abstractmethod
    def read_limits(cls, directory: Path) -> ClipLimits:
        """The clips that the model in ``directory`` takes, from its configuration files."""

    @abstractmethod
    def forward(self, noisy: Tensor, sigma: Tensor, conditions: Conditions) -> Tensor:
        """Velocity (B,Z,F,h,w), noise minus data, of ``noisy`` (B,Z,F,h,w) at noise level ``sigma`` (B,) in 0..1."""

    @classmethod
    def compute_encoder_digest(cls, directory: Path) -> str:
        """16 hex digits of all that the encoder's tensors depend on."""
        return compute_model_digest(directory / "vae")

    @classmethod
    def embed_captions(cls, directory: Path, captions: Iterable[str], dtype: torch.dtype, store: Path) -> None:
        """Store the embeddings of ``captions`` and of an empty one in ``store``, without loading the transformer."""

    def use_text_store(self, folder: Path) -> None:
        """Keep embeddings of captions in ``folder``; a family without a text encoder has none."""

    @abstractmethod
    def encode_captions(self, captions: Sequence[str]) -> Tensor:
        """The ``text`` of ``Conditions``: caption ids (B,L) or embeddings (B,L,D)."""

    @abstractmethod
    def make_solver(self, settings: SamplerSettings, *, has_frames: bool) -> Solver:
        """The solver of the sampling ODE; ``has_frames`` if a clip has context frames."""

    @abstractmethod
    def save_pretrained(self, directory: Path, dtype: torch.dtype | None = None) -> None:
        """Write a folder that ``from_pretrained`` loads, with ``SHA256SUMS``; weights as ``dtype``, or as they are."""

    @property
    @abstractmethod
    def transformers(self) -> Mapping[str, ModelMixin]:
        """The transformers by attribute name: one, or one per range of noise levels."""

    @property
    def encoder(self) -> ClipEncoder:
        return self._frozen[0]

    @property
    def codec(self) -> Codec:
        return self.encoder.codec

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def sigma_shift(self) -> float:
        """How far noise levels are moved towards the noisy end in training and sampling."""
        return SIGMA_SHIFT

    @property
    def noise_distribution(self) -> NoiseDistribution:
        """The distribution of noise levels and of context lengths in training."""
        stride = self.codec.temporal_stride
        fewest, most = CONTEXT_FRAMES
        return NoiseDistribution(
            shift=self.sigma_shift,
            context_frames=(count_latent_frames(fewest - 1, stride) + 1, count_latent_frames(most, stride)),
        )

    def batch_conditions(
        self, tensors: ConditionTensors, domains: Sequence[str], captions: Sequence[str], num_views: int = 1
    ) -> Conditions:
        """The conditions of a batch; a domain that the model does not know counts as absent."""
        ids = [1 + self.domains.index(name) if name in self.domains else 0 for name in domains]
        device = tensors.warped.device
        text, empty_text = self.encode_captions(captions), self.encode_captions([""])[0]
        return Conditions.stack(
            tensors, torch.tensor(ids, device=device), text.to(device), empty_text.to(device), num_views
        )

    def place(self, device: str) -> None:
        """Move the model and its encoder to ``device`` for generation."""
        self.to(device)
        self.encoder.to(device)

    def block_lists(self) -> Iterator[nn.ModuleList]:
        """The list of blocks of every transformer; all blocks of a transformer are equal."""
        for transformer in self.transformers.values():
            for name, child in transformer.named_children():
                if name in _BLOCK_LISTS and isinstance(child, nn.ModuleList):
                    yield child

    def compile_blocks(self) -> None:
        """Apply ``torch.compile`` to the transformer blocks."""
        for blocks in self.block_lists():
            for block in blocks:
                block.compile()

    def digest(self) -> str:
        """sha256, 16 hex digits, of the weights without the encoder's."""
        digest = hashlib.sha256()
        for name, value in self.state_dict().items():
            digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()[:16]


def is_conditioning_weight(name: str) -> bool:
    """Whether a weight of a model is stored in ``CONDITIONING_FILE`` and not with a transformer."""
    return not name.startswith("transformer")


def compute_model_digest(directory: Path) -> str:
    """sha256, 16 hex digits, over the names and bytes of every weight and configuration file of a saved model."""
    if not directory.is_dir():
        raise UserError(f"{directory}: holds no saved model; {ADVICE}")
    digest = hashlib.sha256()
    for name in sorted(_digested_files(directory)):
        digest.update(name.encode() + b"\0")
        with (directory / name).open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()[:16]


def _digested_files(directory: Path) -> Iterator[str]:
    """All files that may be read of a model or a part, also of a part that is a link to a folder."""
    for folder in (directory, *(path for path in directory.iterdir() if path.is_dir())):
        for path in folder.iterdir():
            if path.suffix in {".safetensors", ".json"} and path.is_file():
                yield path.relative_to(directory).as_posix()
