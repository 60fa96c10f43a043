"""Text embeddings by the text encoder of a diffusers pipeline, each caption encoded once.

The encoders of released models (UMT5-XXL, T5-11B) are larger than some of their transformers, so an encoder is loaded
only while captions are missing, and freed afterwards. Embeddings are kept in memory and in a folder, if one is set.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.files.atomic import write_atomic
from driveforge.datasets.files.digests import compute_digests
from driveforge.datasets.files.json_record import read_json
from driveforge.finetune.world_model.serialization import MAX_SIZE

# Tokens of a caption in the pipelines of Wan and of Cosmos-Predict2; longer captions are truncated.
MAX_TOKENS = 512


class TextEncoder:
    """Embeds captions as (L, D) with L = ``MAX_TOKENS``; rows after the tokens of the caption are zero.

    ``store`` is the folder of all embeddings; those of each encoder are in a folder of their own.
    """

    def __init__(
        self, checkpoint: Path, dtype: torch.dtype, clean: Callable[[str], str] = str, device: str = "cpu"
    ) -> None:
        self.store: Path | None = None
        self._checkpoint, self._dtype, self._clean, self._device = checkpoint, dtype, clean, device
        self._known: dict[str, Tensor] = {}
        self._folder: Path | None = None

    def encode(self, captions: Sequence[str]) -> Tensor:
        """Embeddings (B, L, D) of ``captions``, on the CPU."""
        missing = [caption for caption in dict.fromkeys(captions) if caption not in self._known]
        if missing := [caption for caption in missing if not self._read(caption)]:
            for caption, embedding in zip(missing, self._run_encoder(missing), strict=True):
                self._known[caption] = embedding
                if self.store is not None:
                    write_atomic(self._path(caption), save({"embedding": embedding}))
        return torch.stack([_pad(self._known[caption]) for caption in captions])

    def _read(self, caption: str) -> bool:
        """Whether the embedding of ``caption`` was stored; remembers it."""
        if self.store is None or not (path := self._path(caption)).is_file():
            return False
        try:
            self._known[caption] = load_file(path)["embedding"]
        except Exception as error:
            raise UserError(f"{path}: is damaged ({shorten(error, 80)}); delete it and run again") from error
        return True

    def _path(self, caption: str) -> Path:
        assert self.store is not None
        if self._folder is None:
            files = [
                path for part in ("text_encoder", "tokenizer") for path in sorted((self._checkpoint / part).glob("*"))
            ]
            self.store.mkdir(parents=True, exist_ok=True)
            key = f"{compute_digests([files], self.store)[0]} {self._dtype}"
            self._folder = self.store / hashlib.sha256(key.encode()).hexdigest()[:16]
            self._folder.mkdir(exist_ok=True)
        return self._folder / f"{hashlib.sha256(caption.encode()).hexdigest()[:32]}.safetensors"

    def _run_encoder(self, captions: Sequence[str]) -> list[Tensor]:
        """The embeddings (tokens, D) of each caption, without padding."""
        tokenizer, encoder = load_text_encoder(self._checkpoint, self._dtype)
        encoder.to(self._device)
        embeddings = []
        for caption in captions:  # one by one: an embedding must not depend on the batch
            tokens = tokenizer(
                [self._clean(caption)],
                padding="max_length",
                max_length=MAX_TOKENS,
                truncation=True,
                return_attention_mask=True,
                return_tensors="pt",
            ).to(self._device)
            with torch.no_grad():
                hidden = encoder(tokens.input_ids, attention_mask=tokens.attention_mask).last_hidden_state[0]
            embeddings.append(hidden[: int(tokens.attention_mask.sum())].to(self._dtype).cpu().contiguous())
        return embeddings


def default_device() -> str:
    """The accelerator, if there is one: a text encoder of billions of parameters takes minutes on a CPU."""
    return str(torch.accelerator.current_accelerator() or "cpu")


class BlankTextEncoder:
    """Embeds every caption as zeros (L, D), in place of ``TextEncoder`` for a model without values."""

    def __init__(self, checkpoint: Path) -> None:
        self.store: Path | None = None
        path = checkpoint / "text_encoder" / "config.json"
        config = read_json(path, advice := "give a complete folder of a diffusers pipeline")
        size = config.get("d_model") if isinstance(config, dict) else None
        if type(size) is not int or not 0 < size <= MAX_SIZE:
            raise UserError(f"{path}: d_model must be 1 to {MAX_SIZE}, got {shorten(size)}; {advice}")
        self._size = size

    def encode(self, captions: Sequence[str]) -> Tensor:
        return torch.zeros(len(captions), MAX_TOKENS, self._size)


def load_text_encoder(checkpoint: Path, dtype: torch.dtype) -> tuple[Any, Any]:
    """Tokenizer and text encoder of the pipeline in ``checkpoint``. Raises UserError if they cannot be loaded."""
    from transformers import AutoConfig, AutoTokenizer, T5EncoderModel, UMT5EncoderModel
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    known: dict[str, Any] = {"umt5": UMT5EncoderModel, "t5": T5EncoderModel}
    folder = checkpoint / "text_encoder"
    try:
        model_type = AutoConfig.from_pretrained(folder, local_files_only=True).model_type
        if model_type not in known:
            raise UserError(f"{folder}: is a {model_type}, not one of {', '.join(known)}")
        tokenizer = AutoTokenizer.from_pretrained(checkpoint / "tokenizer", local_files_only=True)
        encoder = known[model_type].from_pretrained(folder, dtype=dtype, use_safetensors=True, local_files_only=True)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{checkpoint}: text_encoder/ and tokenizer/ cannot be loaded ({shorten(error, 100)}); "
            "give a complete folder of a diffusers pipeline"
        ) from error
    return tokenizer, encoder.eval().requires_grad_(False)


def _pad(embedding: Tensor) -> Tensor:
    return torch.cat([embedding, embedding.new_zeros(MAX_TOKENS - len(embedding), embedding.shape[1])])
