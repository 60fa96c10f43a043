"""Rollout: a clip that is longer than those of training is generated chunk by chunk along the commanded path.

A chunk is the scene at consecutive frames. It continues the last frames of the chunk before it, which are given as
frames of the codec's output, so a rollout needs nothing of a model but that it continues given frames, as in Helios
(arXiv 2603.04379). Its first frame, if recorded, can stay a condition of later chunks: an anchor.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.conditioning.warp import warp_frame
from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Scene
from driveforge.datasets.select_frames import select_frames
from driveforge.finetune.world_model.clip_encoder import Anchor
from driveforge.finetune.world_model.limits import ClipLimits
from driveforge.finetune.world_model.sampler_settings import SamplerSettings

# Of the frames between the first one and a chunk, every fourth: they only tell the walls along the path.
_PATH_STEP = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """Frames ``start`` to ``stop`` - 1 of a clip; the first ``num_given`` are those of the chunk before."""

    number: int
    start: int
    stop: int
    num_given: int

    @property
    def frames(self) -> NDArray[np.int64]:
        return np.arange(self.start, self.stop)


# Generates the frames (V,T,H,W,3) uint8 of a chunk: of its scene, its given frames or None, its anchor or None.
MakeChunk = Callable[[Chunk, Scene, NDArray[np.uint8] | None, Anchor | None], NDArray[np.uint8]]


def plan_chunks(num_frames: int, chunk_frames: int, overlap_frames: int) -> list[Chunk]:
    """The chunks of a clip: all of ``chunk_frames``, so the last one is given more frames if they do not divide it.

    A clip of at most ``chunk_frames`` is one chunk.
    """
    if num_frames <= chunk_frames:
        return [Chunk(number=0, start=0, stop=num_frames, num_given=0)]
    chunks: list[Chunk] = []
    stop = 0
    while stop < num_frames:
        start = min(max(0, stop - overlap_frames), num_frames - chunk_frames)
        chunks.append(Chunk(number=len(chunks), start=start, stop=start + chunk_frames, num_given=stop - start))
        stop = start + chunk_frames
    return chunks


def derive_chunk_seed(seed: int, number: int) -> int:
    """The seed of a chunk; that of the first is ``seed``, so it has the frames of a clip of one chunk."""
    if number == 0:
        return seed
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def roll_out(
    scene: Scene,
    first_frames: NDArray[np.uint8] | None,
    chunks: list[Chunk],
    anchor_share: float | None,
    make_chunk: MakeChunk,
) -> NDArray[np.uint8]:
    """The frames ``(V, T, H, W, 3)`` of ``chunks``, each made from the last frames of the one before.

    ``first_frames`` ``(V, F, H, W, 3)`` uint8 are given to the first chunk, and the first of them is the anchor.
    """
    anchor_frame = None if first_frames is None or anchor_share is None else first_frames[:, 0]
    given, frames = first_frames, []
    for chunk in chunks:
        anchor = None
        if chunk.number > 0 and anchor_frame is not None and anchor_share is not None:
            anchor = warp_anchor(scene, anchor_frame, chunk, anchor_share)
        made = make_chunk(chunk, select_frames(scene, chunk.frames), given, anchor)
        frames.append(made[:, chunk.num_given :])
        if chunk.number + 1 < len(chunks):
            given = made[:, -chunks[chunk.number + 1].num_given :]
    return np.concatenate(frames, 1)


def warp_anchor(scene: Scene, first_frame: NDArray[np.uint8], chunk: Chunk, share: float) -> Anchor | None:
    """``first_frame`` ``(V, H, W, 3)`` of ``scene`` warped to the poses of ``chunk``; None if it covers no frame.

    It covers a frame if it shows at least ``share`` of its pixels, at no less than half the resolution.
    """
    if scene.ego_to_world is None:
        return None
    path = np.arange(0, chunk.start, _PATH_STEP)
    along_path = select_frames(scene, np.concatenate([path, chunk.frames]))
    shape = (len(first_frame), len(chunk.frames), *first_frame.shape[1:])
    frames, mask = np.zeros(shape, np.uint8), np.zeros(shape[:-1], np.bool_)
    for view, camera in enumerate(scene.cameras):
        if camera.is_calibrated:
            warped, valid = warp_frame(first_frame[view], along_path, along_path.camera(camera.name))
            frames[view], mask[view] = warped[len(path) :], valid[len(path) :]
    mask &= mask.mean((2, 3), keepdims=True) >= share
    return Anchor(frames=frames, mask=mask) if mask.any() else None


def require_chunks(settings: SamplerSettings, num_first_frames: int, limits: ClipLimits) -> None:
    """Raise UserError if a model with these limits cannot generate the chunks of a clip with so many given frames."""
    chunk_frames, stride = settings.chunk_frames or limits.trained_frames, limits.temporal_stride
    if settings.chunk_frames and not limits.allows_length(chunk_frames):
        raise UserError(f"chunk_frames must be {limits.lengths} for this model, got {chunk_frames}")
    if (settings.overlap_frames - 1) % stride or settings.overlap_frames >= chunk_frames:
        raise UserError(
            f"overlap_frames must be 1 + {stride}k for this model, fewer than the {chunk_frames} of a chunk, got "
            f"{settings.overlap_frames}"
        )
    if num_first_frames >= chunk_frames:
        raise UserError(
            f"generate.num_first_frames={num_first_frames} leaves nothing of a chunk of {chunk_frames} frames to "
            "generate: set it lower, or chunk_frames of the sampler higher"
        )
