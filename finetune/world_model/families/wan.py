"""Wan 2.1: text to video (1.3B, 14B) and image to video (14B), and what Wan 2.2 shares with them.

An image-to-video transformer takes 36 channels: noisy latents 16, mask 4, and 16 of the context frames followed by
gray, encoded; its noisy latents stay noisy in context frames. A text-to-video transformer takes the noisy latents
only: context frames are fed clean, at timestep 0 of their tokens, as in Wan 2.2's 5B model.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import WanTransformer3DModel
from numpy.typing import NDArray
from torch import Tensor, nn

from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.scene import Scene
from driveforge.finetune.world_model.clip_encoder import ClipEncoder
from driveforge.finetune.world_model.codec import count_latent_frames
from driveforge.finetune.world_model.conditions import Conditions
from driveforge.finetune.world_model.families.released import TOKEN_CELLS, ReleasedWorldModel
from driveforge.finetune.world_model.grafts import Grafts
from driveforge.finetune.world_model.image_encoder import ImageEncoder
from driveforge.finetune.world_model.pipeline_folder import read_index
from driveforge.finetune.world_model.serialization import read_part_config
from driveforge.finetune.world_model.wan_codec import WanCodec, to_vae_input
from driveforge.finetune.world_model.wan_hooks import (
    add_embedding,
    add_modulation,
    hooks_registered,
    repeat_rope_per_view,
)

# Mask channels of image-to-video transformers: one per frame of a latent frame.
_IMAGE_MASK_CHANNELS = 4


class WanWorldModel(ReleasedWorldModel):
    """A pipeline ``WanPipeline`` or ``WanImageToVideoPipeline`` of Wan 2.1, with grafts."""

    family = "wan"
    transformer_class = WanTransformer3DModel
    modulations_per_block = 6
    released_frames = 81
    lora_targets = ("to_q", "to_k", "to_v", "to_out.0", "ffn.net.0.proj", "ffn.net.2")
    pipelines = ("WanPipeline", "WanImageToVideoPipeline")

    @property
    def takes_image(self) -> bool:
        """Whether the transformers take context frames as further channels."""
        return bool(next(iter(self.transformers.values())).config.in_channels > self.codec.channels)

    @property
    def has_clean_context(self) -> bool:  # type: ignore[override]
        return not self.takes_image

    @classmethod
    def max_tokens(cls, config: Mapping[str, Any]) -> tuple[int, int]:
        return config["rope_max_seq_len"], config["rope_max_seq_len"]

    @classmethod
    def require_pipeline(cls, directory: Path) -> None:
        name = read_index(directory).get("_class_name")
        if name not in cls.pipelines:
            raise UserError(
                f"{directory} holds a {shorten(name)}; model={cls.family} takes {' or '.join(cls.pipelines)}"
            )
        channels = cls.codec_class.on_meta(directory).channels
        config = read_part_config(WanTransformer3DModel, directory / cls.find_parts(directory)[0])
        allowed = (channels, 2 * channels + _IMAGE_MASK_CHANNELS)
        if config["in_channels"] not in allowed or config["out_channels"] != channels:
            raise UserError(
                f"{directory}: its transformer takes {config['in_channels']} channels and returns "
                f"{config['out_channels']}; with a codec of {channels} it must take {allowed[0]} (text to video) "
                f"or {allowed[1]} (image to video)"
            )

    @classmethod
    def make_encoder(cls, directory: Path, codec: WanCodec) -> ClipEncoder:
        config = read_part_config(WanTransformer3DModel, directory / cls.find_parts(directory)[0])
        if config["in_channels"] == codec.channels:
            return ClipEncoder(codec)
        return WanImageClipEncoder(codec, ImageEncoder(directory) if config["image_dim"] else None)

    @staticmethod
    def clean_caption(caption: str) -> str:
        # Imported here, because workers that encode clips need no text.
        from diffusers.pipelines.wan.pipeline_wan import prompt_clean

        return str(prompt_clean(caption))

    def forward(self, noisy: Tensor, sigma: Tensor, conditions: Conditions) -> Tensor:
        return self._run("transformer", noisy, sigma, conditions)

    def _run(self, name: str, noisy: Tensor, sigma: Tensor, conditions: Conditions) -> Tensor:
        """The velocity by one of the transformers."""
        transformer, grafts = self.transformers[name], self.grafts[name]
        assert isinstance(grafts, Grafts)
        hooks: dict[nn.Module, Any] = {
            transformer.patch_embedding: add_embedding(grafts.embed(conditions)),
            transformer.condition_embedder: add_modulation(grafts.modulation(conditions)),
            transformer.rope: repeat_rope_per_view(conditions.num_views),
        }
        embeds = conditions.image_embeds if transformer.config.image_dim else None
        with hooks_registered(hooks):
            output = transformer(
                hidden_states=self._input_channels(noisy, conditions).to(transformer.dtype),
                timestep=self._timesteps(noisy, sigma, conditions),
                encoder_hidden_states=conditions.text.to(transformer.dtype),
                encoder_hidden_states_image=None if embeds is None else embeds.to(transformer.dtype),
                return_dict=False,
            )
        velocity: Tensor = output[0].float()
        return velocity

    def _input_channels(self, noisy: Tensor, conditions: Conditions) -> Tensor:
        if not self.takes_image:
            return noisy
        assert conditions.image is not None
        mask = conditions.mask.context.expand(-1, _IMAGE_MASK_CHANNELS, -1, -1, -1)
        return torch.cat([noisy, mask, conditions.image], 1)

    def _timesteps(self, noisy: Tensor, sigma: Tensor, conditions: Conditions) -> Tensor:
        """(B,), or (B, tokens) with 0 at clean context frames. The released schedulers give whole timesteps."""
        timesteps = (sigma * 1000).round()
        if self.takes_image or not self._has_token_timesteps(conditions):
            return timesteps
        return token_timesteps(timesteps, conditions.context_mask, noisy.shape)

    def _has_token_timesteps(self, conditions: Conditions) -> bool:
        return bool((conditions.context_mask > 0).any())


def token_timesteps(timesteps: Tensor, context_mask: Tensor, shape: torch.Size) -> Tensor:
    """(B, tokens) of ``timesteps`` (B,), with 0 in context frames; ``shape`` is (B,Z,F,h,w), tokens frame by frame."""
    by_frame = (1 - context_mask[:, 0, :, 0, 0]) * timesteps[:, None]
    tokens = (shape[3] // TOKEN_CELLS) * (shape[4] // TOKEN_CELLS)
    return by_frame.repeat_interleave(tokens, 1)


class WanImageClipEncoder(ClipEncoder):
    """Encodes the context frames followed by gray as well, and the first frame with CLIP if the model takes that."""

    def __init__(self, codec: WanCodec, image_encoder: ImageEncoder | None) -> None:
        super().__init__(codec)
        self.codec: WanCodec = codec
        self._image_encoder = image_encoder

    def encode_image(self, scene: Scene, context_frames: NDArray[np.uint8] | None) -> dict[str, Tensor]:
        camera, num_views = scene.cameras[0], len(scene.cameras)
        grid = (camera.height // self.codec.spatial_stride, camera.width // self.codec.spatial_stride)
        num_latent = count_latent_frames(scene.num_frames, self.codec.temporal_stride)
        image = torch.zeros(self.codec.channels, num_views * num_latent, *grid)
        if context_frames is not None:
            signal = torch.zeros(num_views, 3, scene.num_frames, camera.height, camera.width)
            signal[:, :, : context_frames.shape[1]] = to_vae_input(torch.from_numpy(np.array(context_frames)))
            image = torch.cat(list(self.codec.encode_signal(signal).cpu()), 1)
        if self._image_encoder is None:
            return {"image": image}
        first = None if context_frames is None else context_frames[:, 0]
        return {"image": image, "image_embeds": self._image_encoder.encode(first, num_views)}
