"""Generates a clip from a scene: encodes its conditions, samples latents, decodes them."""

from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray

from driveforge.datasets.scene import Clip, Scene
from driveforge.finetune.world_model.clip_encoder import Anchor
from driveforge.finetune.world_model.families.registry import Dtype, load_world_model
from driveforge.finetune.world_model.model import WorldModel, compute_model_digest
from driveforge.finetune.world_model.rollout import Chunk, derive_chunk_seed, plan_chunks, roll_out
from driveforge.finetune.world_model.sampler_settings import SamplerSettings
from driveforge.finetune.world_model.sampling import sample

Frames = NDArray[np.uint8]


class WorldModelGenerator:
    """Generates clips with a saved world model of any family. Not thread-safe: a codec keeps state during a call."""

    def __init__(self, model: WorldModel, digest: str) -> None:
        self.model = model
        self.digest = digest

    @classmethod
    def load(
        cls, directory: Path | str, device: str = "cpu", dtype: Dtype = "float32", text_store: Path | None = None
    ) -> "WorldModelGenerator":
        """Load the model in ``directory``; embeddings of captions are kept in ``text_store``."""
        directory = Path(directory)
        model = load_world_model(directory, dtype, text_store)
        model.place(device)
        return cls(model, compute_model_digest(directory))

    def generate(
        self, scene: Scene, first_frames: NDArray[np.uint8] | None, *, seed: int, settings: SamplerSettings
    ) -> Clip:
        """A clip of ``scene``. ``first_frames`` is ``(V, F, H, W, 3)`` uint8, or None.

        All frames are decoded by the codec, context frames too, so that the appearance does not change after them. A
        clip that is longer than a chunk is rolled out.
        """
        chunk_frames = settings.chunk_frames or self.model.trained_frames
        chunks = plan_chunks(scene.num_frames, chunk_frames, settings.overlap_frames)

        def make(chunk: Chunk, part: Scene, given: NDArray[np.uint8] | None, anchor: Anchor | None) -> Frames:
            own_seed = derive_chunk_seed(seed, chunk.number)
            return self._generate_chunk(part, given, anchor, own_seed, settings, is_first=chunk.number == 0)

        return Clip(scene=scene, frames=roll_out(scene, first_frames, chunks, settings.anchor_share, make))

    def _generate_chunk(
        self,
        scene: Scene,
        first_frames: Frames | None,
        anchor: Anchor | None,
        seed: int,
        settings: SamplerSettings,
        *,
        is_first: bool,
    ) -> Frames:
        num_context_frames = 0 if first_frames is None else first_frames.shape[1]
        tensors = self.model.encoder.encode_conditions(scene, first_frames, num_context_frames, anchor)
        batched = tensors.map(lambda tensor: tensor[None].to(self.model.device))
        conditions = self.model.batch_conditions(batched, [scene.domain], [scene.caption], len(scene.cameras))
        latents = sample(self.model, conditions, seed, settings, 0.0 if is_first else settings.context_noise)
        views = rearrange(latents, "1 z (v t) h w -> v z t h w", v=len(scene.cameras))
        frames: Frames = self.model.codec.decode(views, tiled=settings.tiled_decoding).cpu().numpy()
        return frames

    def reconstruct(self, clip: Clip) -> Clip:
        """``clip`` encoded and decoded by the codec, which shows the loss from compression only."""
        latents = self.model.codec.encode(torch.from_numpy(np.array(clip.frames)))
        return Clip(scene=clip.scene, frames=self.model.codec.decode(latents).cpu().numpy())
