"""CLIP from a folder on disk: how well pictures fit the caption, and each other over time. Nothing is ever downloaded.

The folder is one that ``save_pretrained`` of transformers makes: ``config.json``, ``model.safetensors`` and the
tokenizer. Of both measures *higher is worse*, as of all of ``driveforge.pipelines.studies.validator.baselines``: they are 1 minus the published scores.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.errors import UserError
from driveforge.datasets.geometry import Array
from driveforge.datasets.scene import Clip
from driveforge.validation.local_weights import require_local
from driveforge.pipelines.studies.validator.baselines.records import peer_measure
from driveforge.validation.records import TOO_FEW_FRAMES, Measure, Sample
from driveforge.validation.set_metrics.features import Extractor, files_hash
from driveforge.validation.views.pixels import reference_pixels

if TYPE_CHECKING:
    import torch

NO_CAPTION = "no caption"
# What OpenAI's CLIP, and OpenCLIP after it, were trained with: mean and spread of red, green and blue in 0..1.
MEAN, SPREAD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
# Without its files a tokenizer is made that knows no words, and no error.
_NEEDED = (("config.json",), ("model.safetensors",), ("tokenizer.json", "vocab.json"))
_MADE_OF = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ClipModel:
    """``embed_images`` takes frames ``(T, H, W, 3)`` uint8 to ``(T, D)``, ``embed_text`` a caption to ``(D,)``.

    All are of unit length. ``hash`` is of the files of the folder.
    """

    name: str
    hash: str
    embed_images: Callable[[NDArray[np.uint8]], Array]
    embed_text: Callable[[str], Array]


def load_clip(folder: Path) -> ClipModel:
    """The CLIP model in ``folder``; a UserError where a file is missing or is not of CLIP."""
    require_local(folder, "CLIP folder")
    for names in _NEEDED:
        if not any((folder / name).is_file() for name in names):
            raise UserError(f"{folder}: no {' or '.join(names)} there; save the model and its tokenizer into it")
    import torch
    from transformers import CLIPModel, CLIPTokenizer

    try:
        model: Any = CLIPModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{folder}: not a CLIP model ({str(error).strip().splitlines()[0]})") from error
    side = model.config.vision_config.image_size
    longest = model.config.text_config.max_position_embeddings

    def embed_images(frames: NDArray[np.uint8]) -> Array:
        with torch.inference_mode():
            pooled = model.vision_model(pixel_values=_prepared(frames, side)).pooler_output
            return _unit(model.visual_projection(pooled))

    def embed_text(caption: str) -> Array:
        with torch.inference_mode():
            tokens = tokenizer([caption], truncation=True, max_length=longest, return_tensors="pt")
            return np.asarray(_unit(model.text_projection(model.text_model(**tokens).pooler_output))[0])

    return ClipModel(
        name=f"clip:{folder.name}",
        hash=files_hash(*(folder / name for name in _MADE_OF if (folder / name).is_file())),
        embed_images=embed_images,
        embed_text=embed_text,
    )


def clip_text_distance(clip: Clip, model: ClipModel) -> Measure:
    """1 - CLIPSIM: 1 minus the mean cosine of the caption and each frame, in 0..2; higher is worse.

    Sources: Hessel et al., "CLIPScore" (EMNLP 2021); over frames, Wu et al., "GODIVA" (2021).
    """
    name = "peer_clip_text"
    if not clip.scene.caption:
        return peer_measure(name, "share", [], NO_CAPTION, np.mean)
    cosines = model.embed_images(reference_pixels(clip)) @ model.embed_text(clip.scene.caption)
    samples = [Sample(value=1.0 - float(cosine), frames=(t,)) for t, cosine in enumerate(cosines)]
    return peer_measure(name, "share", samples, TOO_FEW_FRAMES, np.mean)


def clip_temporal_distance(clip: Clip, model: ClipModel) -> Measure:
    """1 - frame consistency: 1 minus the mean cosine of each two neighbouring frames, in 0..2; higher is worse.

    A frozen clip earns 0. Source: Esser et al., "Structure and content-guided video synthesis" (ICCV 2023).
    """
    embedded = model.embed_images(reference_pixels(clip))
    samples = [Sample(value=1.0 - float(a @ b), frames=(t, t + 1)) for t, (a, b) in enumerate(pairwise(embedded))]
    return peer_measure("peer_clip_temporal", "share", samples, TOO_FEW_FRAMES, np.mean)


def clip_extractor(model: ClipModel) -> Extractor:
    """One row a frame, for a Frechet distance in the space of CLIP (Kynkaanniemi et al., ICLR 2023)."""
    return Extractor(name=model.name, hash=model.hash, embed=lambda clip: model.embed_images(reference_pixels(clip)))


def _prepared(frames: NDArray[np.uint8], side: int) -> "torch.Tensor":
    """``(T, 3, side, side)`` as CLIP was trained: shorter side resized (bicubic), middle cut out, normalised."""
    import torch

    pixels = torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2))).float() / 255
    height, width = pixels.shape[2:]
    size = [max(round(length * side / min(height, width)), side) for length in (height, width)]
    pixels = torch.nn.functional.interpolate(pixels, size, mode="bicubic", antialias=True, align_corners=False)
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    middle = pixels[:, :, top : top + side, left : left + side].clamp(0, 1)
    mean, spread = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, SPREAD))
    return (middle - mean) / spread


def _unit(features: "torch.Tensor") -> Array:
    return np.asarray(features / features.norm(dim=-1, keepdim=True), np.float64)
