"""The conditions of the model as tensors: encoded once per clip, stacked into batches, dropped at random in training.

Shape legend: B batch, Z latent channels, F latent frames of all views (views one after the other), h w latent grid.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from numpy.typing import NDArray
from torch import Tensor

from driveforge.datasets.conditioning.layout import render_layout
from driveforge.datasets.conditioning.rays import plucker_rays
from driveforge.datasets.conditioning.warp import warp_frame
from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Camera, Clip, Scene
from driveforge.finetune.world_model.captions import caption_ids
from driveforge.finetune.world_model.clip_tensors import (
    MASK_CHANNELS,
    RAY_CHANNELS,
    ClipTensors,
    ConditionMask,
    ConditionTensors,
)
from driveforge.finetune.world_model.vae import encode

# Vehicles cover few cells and matter most, so their cells weigh more in the loss (as in GeoDiffusion, Chen et al. 2024,
# arXiv 2306.04607).
BOX_WEIGHT = 3.0

# Wan's VAE takes 1 + 4k frames. A token is two by two cells of eight pixels, and the rotary embedding has 64 positions
# per axis.
_FRAME_STEP, _TOKEN_PX, _MAX_TOKENS = 4, 16, 64


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Conditions:
    """A batch of conditions: ``warped`` and ``layout`` (B,Z,F,h,w), ``mask``, ``rays`` (B,6,F,h,w), ``domain`` (B,)
    and ``caption`` (B,12) ids.

    An absent condition is zero: its channels, its mask, domain 0, caption ids 0.
    """

    warped: Tensor
    layout: Tensor
    mask: ConditionMask
    rays: Tensor
    domain: Tensor
    caption: Tensor
    num_views: int = 1

    @property
    def context_mask(self) -> Tensor:
        """(B,1,F,1,1), 1 in context frames."""
        return self.mask.context[..., :1, :1]

    def select(self, rows: Tensor) -> "Conditions":
        """The samples ``rows`` (R,) of the batch."""
        return Conditions(
            warped=self.warped[rows],
            layout=self.layout[rows],
            mask=self.mask.select(rows),
            rays=self.rays[rows],
            domain=self.domain[rows],
            caption=self.caption[rows],
            num_views=self.num_views,
        )

    def without_frames(self, drop: Tensor) -> "Conditions":
        """Without context frames, and so without anything warped from them, where ``drop`` (B,) is True."""
        keep = _keep_mask(drop)
        mask = self.mask._replace(context=self.mask.context * keep, warped=self.mask.warped * keep)
        return replace(self, warped=self.warped * keep, mask=mask)

    def without_layout(self, drop: Tensor) -> "Conditions":
        keep = _keep_mask(drop)
        return replace(self, layout=self.layout * keep, mask=self.mask._replace(has_layout=self.mask.has_layout * keep))

    def without_pose(self, drop: Tensor) -> "Conditions":
        """Without rays and without warped frames; the context frames themselves are kept."""
        keep = _keep_mask(drop)
        keep_warped = torch.maximum(keep, self.context_mask)
        mask = self.mask._replace(warped=self.mask.warped * keep_warped, has_rays=self.mask.has_rays * keep)
        return replace(self, warped=self.warped * keep_warped, rays=self.rays * keep, mask=mask)

    def without_text(self, drop: Tensor) -> "Conditions":
        """Without caption and domain."""
        keep = (~drop).long()
        return replace(self, domain=self.domain * keep, caption=self.caption * keep[:, None])

    def as_continuation(self, latents: Tensor, num_context_frames: Tensor) -> "Conditions":
        """The conditions of an unconditional continuation: context frames, and neither layout nor pose.

        The context is the first ``num_context_frames`` (B,) frames of ``latents`` (B,Z,F,h,w). Copies of its last frame
        fill the later frames, so all motion has to come from the model. Samples with 0 context frames are unchanged.
        """
        positions = torch.arange(latents.shape[2], device=latents.device)
        # The frames of a view are contiguous and numbered from 0.
        frame_numbers = positions % (len(positions) // self.num_views)
        # 0 in context frames; n in the n-th frame after the last of them, which copies from n frames before.
        frames_past_context = (frame_numbers - num_context_frames.clamp_min(1)[:, None] + 1).clamp_min(0)
        warped = latents.gather(2, (positions - frames_past_context)[:, None, :, None, None].expand_as(latents))
        context = (frames_past_context == 0)[:, None, :, None, None]
        context = context.expand_as(self.mask.context).to(self.mask.context.dtype)
        commanded = self.without_layout(num_context_frames > 0).without_pose(num_context_frames > 0)
        is_continuation = (num_context_frames > 0).view(-1, 1, 1, 1, 1)
        return replace(
            commanded,
            warped=torch.where(is_continuation, warped, commanded.warped),
            mask=commanded.mask._replace(
                context=torch.where(is_continuation, context, commanded.mask.context),
                warped=torch.where(is_continuation, context, commanded.mask.warped),
            ),
        )

    def unconditional(self) -> "Conditions":
        """The conditions that classifier-free guidance steers away from: the context frames only."""
        drop_all = torch.ones(len(self.domain), dtype=torch.bool, device=self.domain.device)
        return self.without_layout(drop_all).without_pose(drop_all).without_text(drop_all)


def _keep_mask(drop: Tensor) -> Tensor:
    return (~drop).float().view(-1, 1, 1, 1, 1)


def require_encodable(scenes: Iterable[Scene]) -> None:
    """Raises UserError if the model cannot take the length or size of a clip, before anything is rendered."""
    for scene in scenes:
        sides = {side for camera in scene.cameras for side in (camera.height, camera.width)}
        fits = scene.num_frames % _FRAME_STEP == 1 and scene.num_frames <= _MAX_TOKENS
        if not fits or any(side % _TOKEN_PX or side > _TOKEN_PX * _MAX_TOKENS for side in sides):
            camera = scene.cameras[0]
            raise UserError(
                f"clip {scene.clip_id} has {scene.num_frames} frames of {camera.width}x{camera.height}, the model "
                f"takes 1 + {_FRAME_STEP}k frames up to {_MAX_TOKENS - _FRAME_STEP + 1}, with sides that are multiples "
                f"of {_TOKEN_PX} up to {_TOKEN_PX * _MAX_TOKENS}"
            )


def encode_conditions(
    vae: AutoencoderKLWan, scene: Scene, first_frames: NDArray[np.uint8] | None, num_context_frames: int = 1
) -> ConditionTensors:
    """The condition tensors of one clip.

    ``first_frames`` is ``(V, >= num_context_frames, H, W, 3)`` uint8, or None. If the scene has no ego pose, only the
    context frames themselves are in ``warped``, and layout and rays are absent.
    """
    views = [
        _encode_view(vae, scene, camera, None if first_frames is None else first_frames[v, :num_context_frames])
        for v, camera in enumerate(scene.cameras)
    ]
    return ConditionTensors(
        warped=torch.cat([view.warped for view in views], 1),
        layout=torch.cat([view.layout for view in views], 1),
        mask=torch.cat([view.mask for view in views], 1),
        rays=torch.cat([view.rays for view in views], 1),
    )


def _encode_view(
    vae: AutoencoderKLWan, scene: Scene, camera: Camera, context_frames: NDArray[np.uint8] | None
) -> ConditionTensors:
    cell, num_frames = vae.config.patch_size, scene.num_frames
    grid = (num_frames, camera.height // cell, camera.width // cell)
    has_pose = scene.ego_to_world is not None and camera.is_calibrated
    warped, layout = torch.zeros(vae.config.z_dim, *grid), torch.zeros(vae.config.z_dim, *grid)
    rays, channels = torch.zeros(RAY_CHANNELS, *grid), torch.zeros(MASK_CHANNELS, *grid)
    mask = ConditionMask.from_channels(channels)  # views: writing to them writes to ``channels``
    if has_pose:
        rays = torch.from_numpy(plucker_rays(scene, camera, cell))
        mask.has_rays.fill_(1)
    if has_pose and (scene.tracks or scene.lanes):
        layout = encode(vae, torch.from_numpy(render_layout(scene, camera))[None])[0]
        mask.has_layout.fill_(1)
    if context_frames is not None:
        frames, is_warped = _warped_video(scene, camera, context_frames, has_pose)
        num_warped = num_frames if has_pose else len(context_frames)
        warped[:, :num_warped] = encode(vae, torch.from_numpy(frames)[None])[0][:, :num_warped]
        mask.context[:, : len(context_frames)] = 1
        mask.warped.copy_(_average_over_cells(is_warped, cell))
    return ConditionTensors(warped=warped, layout=layout, mask=channels, rays=rays)


def _warped_video(
    scene: Scene, camera: Camera, context_frames: NDArray[np.uint8], has_pose: bool
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Video ``(T, H, W, 3)``: the context frames, then the last of them warped; and its mask ``(T, H, W)``."""
    last = len(context_frames) - 1
    frames = np.full((scene.num_frames, camera.height, camera.width, 3), 128, np.uint8)
    mask = np.zeros(frames.shape[:3], np.bool_)
    if has_pose:
        frames[last:], mask[last:] = warp_frame(context_frames[last], scene, camera, last)
    frames[: last + 1], mask[: last + 1] = context_frames, True
    return frames, mask


def encode_clip(vae: AutoencoderKLWan, clip: Clip, num_context_frames: int = 1) -> ClipTensors:
    """All tensors of one training clip.

    ``cell_weight`` is 0 in held frames, and higher in cells that show a box of the layout than in the rest.
    """
    conditions = encode_conditions(vae, clip.scene, clip.frames, num_context_frames)
    weights = [_cell_weight(clip.scene, camera, vae.config.patch_size) for camera in clip.scene.cameras]
    return ClipTensors(
        **conditions.to_mapping(),
        latents=torch.cat(list(encode(vae, torch.from_numpy(np.array(clip.frames)))), 1),
        cell_weight=torch.cat(weights),
    )


def _cell_weight(scene: Scene, camera: Camera, cell: int) -> Tensor:
    """(T,h,w): 1 plus ``BOX_WEIGHT`` times the share of the cell that shows a box, and 0 in held frames."""
    weight = torch.ones(scene.num_frames, camera.height // cell, camera.width // cell)
    if scene.ego_to_world is not None and camera.is_calibrated:
        boxed = render_layout(replace(scene, lanes=()), camera).any(-1)
        weight += BOX_WEIGHT * _average_over_cells(boxed, cell)
    weight[scene.num_frames - scene.held_frames :] = 0
    return weight


def _average_over_cells(mask: NDArray[np.bool_], cell: int) -> Tensor:
    """``mask`` (T,H,W) averaged over square cells: (T,h,w)."""
    return torch.from_numpy(mask).float().unfold(1, cell, cell).unfold(2, cell, cell).mean((-1, -2))


def stack_conditions(
    tensors: ConditionTensors,
    domains: list[str],
    captions: list[str],
    known_domains: tuple[str, ...],
    num_views: int = 1,
) -> Conditions:
    """The conditions of a batch; a domain that is not in ``known_domains`` counts as absent."""
    ids = [1 + known_domains.index(name) if name in known_domains else 0 for name in domains]
    device = tensors.warped.device
    return Conditions(
        warped=tensors.warped.float(),
        layout=tensors.layout.float(),
        mask=ConditionMask.from_channels(tensors.mask.float()),
        rays=tensors.rays.float(),
        domain=torch.tensor(ids, device=device),
        caption=torch.tensor([caption_ids(text) for text in captions], device=device),
        num_views=num_views,
    )
