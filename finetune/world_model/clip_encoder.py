"""Encodes clips and their conditions: what is computed once per clip and cached.

Shape legend: Z latent channels, F latent frames of all views (views one after the other), h w latent grid; T frames.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from driveforge.datasets.conditioning.cells import average_over_cells
from driveforge.datasets.conditioning.layout import render_layout
from driveforge.datasets.conditioning.rays import plucker_rays
from driveforge.datasets.conditioning.warp import warp_frame
from driveforge.datasets.scene import Camera, Clip, Scene
from driveforge.finetune.world_model.clip_tensors import (
    MASK_CHANNELS,
    RAY_CHANNELS,
    ClipTensors,
    ConditionMask,
    ConditionTensors,
)
from driveforge.finetune.world_model.codec import Codec, count_latent_frames, group_frames

# Vehicles cover few cells and matter most, so their cells weigh more in the loss (as in GeoDiffusion, Chen et al. 2024,
# arXiv 2306.04607).
BOX_WEIGHT = 3.0
# Where nothing is known: 0 in the [-1, 1] of the codec's input, up to rounding.
_GRAY = 128
# Frames (T,H,W,3) uint8, and a mask (T,H,W).
Video = tuple[NDArray[np.uint8], NDArray[np.bool_]]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Anchor:
    """An earlier frame warped to all frames of a clip, ``(V,T,H,W,3)`` uint8, and where it is used, ``(V,T,H,W)``."""

    frames: NDArray[np.uint8]
    mask: NDArray[np.bool_]


class ClipEncoder:
    """Encodes clips with a codec. A family with further condition tensors overrides ``encode_image``."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec

    def to(self, device: torch.device | str) -> None:
        self.codec.to(device)

    def encode_image(self, scene: Scene, context_frames: NDArray[np.uint8] | None) -> dict[str, Tensor]:
        """The optional tensors of ``ConditionTensors``; ``context_frames`` is (V,N,H,W,3) uint8 or None."""
        return {}

    def encode_conditions(
        self,
        scene: Scene,
        first_frames: NDArray[np.uint8] | None,
        num_context_frames: int = 1,
        anchor: Anchor | None = None,
    ) -> ConditionTensors:
        """The condition tensors of one clip.

        ``first_frames`` is ``(V, >= num_context_frames, H, W, 3)`` uint8, or None. If the scene has no ego pose, only
        the context frames themselves are in ``warped``, and layout and rays are absent. After the context frames,
        ``anchor`` replaces what is warped from the last of them.
        """
        context_frames = None if first_frames is None else first_frames[:, :num_context_frames]
        views = [
            _encode_view(
                self.codec, scene, camera, None if context_frames is None else context_frames[v], _of_view(anchor, v)
            )
            for v, camera in enumerate(scene.cameras)
        ]
        return ConditionTensors(
            warped=torch.cat([view.warped for view in views], 1),
            layout=torch.cat([view.layout for view in views], 1),
            mask=torch.cat([view.mask for view in views], 1),
            rays=torch.cat([view.rays for view in views], 1),
            **self.encode_image(scene, context_frames),
        )

    def encode_clip(self, clip: Clip, num_context_frames: int = 1) -> ClipTensors:
        """All tensors of one training clip.

        ``cell_weight`` is 0 in latent frames that contain held frames, and higher in cells that show a box of the
        layout than in the rest.
        """
        conditions = self.encode_conditions(clip.scene, clip.frames, num_context_frames)
        latents = self.codec.encode(torch.from_numpy(np.array(clip.frames))).cpu()
        return ClipTensors(
            **conditions.to_mapping(),
            latents=torch.cat(list(latents), 1),
            cell_weight=torch.cat([_cell_weight(self.codec, clip.scene, camera) for camera in clip.scene.cameras]),
        )


def _encode_view(
    codec: Codec, scene: Scene, camera: Camera, context_frames: NDArray[np.uint8] | None, anchor: Video | None
) -> ConditionTensors:
    cell, stride = codec.spatial_stride, codec.temporal_stride
    grid = (count_latent_frames(scene.num_frames, stride), camera.height // cell, camera.width // cell)
    has_pose = scene.ego_to_world is not None and camera.is_calibrated
    warped, layout = torch.zeros(codec.channels, *grid), torch.zeros(codec.channels, *grid)
    rays, channels = torch.zeros(stride * RAY_CHANNELS, *grid), torch.zeros(MASK_CHANNELS, *grid)
    mask = ConditionMask.from_channels(channels)  # views: writing to them writes to ``channels``
    if has_pose:
        # The rays of all frames of a latent frame, as the camera adapters of Wan's Fun-Control models take them.
        by_frame = torch.from_numpy(plucker_rays(scene, camera, cell)).movedim(1, 0)
        rays = group_frames(by_frame, stride).flatten(1, 2).movedim(0, 1)
        mask.has_rays.fill_(1)
    if has_pose and (scene.tracks or scene.lanes):
        layout = codec.encode(torch.from_numpy(render_layout(scene, camera))[None])[0].cpu()
        mask.has_layout.fill_(1)
    if context_frames is not None:
        frames, is_warped = _warped_video(scene, camera, context_frames, has_pose, anchor)
        num_context = count_latent_frames(len(context_frames), stride)
        num_warped = grid[0] if has_pose else num_context
        warped[:, :num_warped] = codec.encode(torch.from_numpy(frames)[None])[0][:, :num_warped]
        mask.context[:, :num_context] = 1
        mask.warped.copy_(average_over_latent_cells(is_warped, cell, stride))
    return ConditionTensors(warped=warped, layout=layout, mask=channels, rays=rays)


def _of_view(anchor: Anchor | None, view: int) -> Video | None:
    return None if anchor is None else (anchor.frames[view], anchor.mask[view])


def _warped_video(
    scene: Scene, camera: Camera, context_frames: NDArray[np.uint8], has_pose: bool, anchor: Video | None
) -> Video:
    """The context frames, then the last of them warped, with ``anchor`` in front."""
    last = len(context_frames) - 1
    frames = np.full((scene.num_frames, camera.height, camera.width, 3), _GRAY, np.uint8)
    mask = np.zeros(frames.shape[:3], np.bool_)
    if has_pose:
        frames[last:], mask[last:] = warp_frame(context_frames[last], scene, camera, last)
    if anchor is not None:
        frames = np.where(anchor[1][..., None], anchor[0], frames)
        mask = mask | anchor[1]
    frames[: last + 1], mask[: last + 1] = context_frames, True
    return frames, mask


def _cell_weight(codec: Codec, scene: Scene, camera: Camera) -> Tensor:
    """(F,h,w): 1 plus ``BOX_WEIGHT`` times the share of the cell that shows a box, and 0 with a held frame."""
    cell, stride = codec.spatial_stride, codec.temporal_stride
    num_latent_frames = count_latent_frames(scene.num_frames, stride)
    weight = torch.ones(num_latent_frames, camera.height // cell, camera.width // cell)
    if scene.ego_to_world is not None and camera.is_calibrated:
        boxed = render_layout(replace(scene, lanes=()), camera).any(-1)
        weight += BOX_WEIGHT * average_over_latent_cells(boxed, cell, stride)
    weight[count_latent_frames(scene.num_frames - scene.held_frames, stride) :] = 0
    return weight


def average_over_latent_cells(mask: NDArray[np.bool_], cell: int, temporal_stride: int) -> Tensor:
    """``mask`` (T,H,W) averaged over square cells and the frames of a latent frame: (F, H // cell, W // cell)."""
    return group_frames(torch.from_numpy(average_over_cells(mask, cell)), temporal_stride).mean(1)
