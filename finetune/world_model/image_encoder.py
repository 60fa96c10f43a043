"""Features of the first frame by the CLIP image encoder of Wan 2.1's image-to-video pipelines."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from driveforge.datasets.errors import UserError, shorten


class ImageEncoder:
    """The penultimate hidden states of CLIP, as ``WanImageToVideoPipeline`` takes them; loaded at the first call."""

    def __init__(self, checkpoint: Path) -> None:
        self._checkpoint = checkpoint
        self._parts: tuple[Any, Any] | None = None

    def encode(self, frames: NDArray[np.uint8] | None, num_views: int) -> Tensor:
        """(V * N, D) of the first frames (V,H,W,3) uint8 of all views, one after the other; zero without frames."""
        from PIL import Image

        if frames is None:
            config = _read_config(self._checkpoint)
            patches = (config.image_size // config.patch_size) ** 2
            return torch.zeros(num_views * (1 + patches), config.hidden_size)
        processor, encoder = self._load()
        inputs = processor(images=[Image.fromarray(frame) for frame in frames], return_tensors="pt")
        with torch.no_grad():
            hidden: Tensor = encoder(**inputs, output_hidden_states=True).hidden_states[-2]
        return hidden.flatten(0, 1)

    def _load(self) -> tuple[Any, Any]:
        if self._parts is None:
            self._parts = _load_parts(self._checkpoint)
        return self._parts


def _read_config(checkpoint: Path) -> Any:
    from transformers import CLIPVisionConfig

    try:
        return CLIPVisionConfig.from_pretrained(checkpoint / "image_encoder", local_files_only=True)
    except Exception as error:
        raise _not_loadable(checkpoint, error) from error


def _not_loadable(checkpoint: Path, error: Exception) -> UserError:
    return UserError(
        f"{checkpoint}: image_encoder/ and image_processor/ cannot be loaded ({shorten(error, 100)}); "
        "give a complete folder of a diffusers pipeline"
    )


def _load_parts(checkpoint: Path) -> tuple[Any, Any]:
    from transformers import CLIPImageProcessor, CLIPVisionModel

    processor_class: Any = CLIPImageProcessor
    encoder_class: Any = CLIPVisionModel
    try:
        processor = processor_class.from_pretrained(checkpoint / "image_processor", local_files_only=True)
        encoder = encoder_class.from_pretrained(
            checkpoint / "image_encoder", dtype=torch.float32, use_safetensors=True, local_files_only=True
        )
    except Exception as error:
        raise _not_loadable(checkpoint, error) from error
    return processor, encoder.eval()
