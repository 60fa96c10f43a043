"""What the model is told, as tensors: encoded once per clip, stacked into batches, dropped at random in training.

Shape legend: B batch, Z latent channels, F latent frames of all views (views one after the other), h w latent grid.
"""

from collections.abc import Iterable, Mapping
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
from driveforge.finetune.world_model.vae import encode

# Channels of the mask: a given (clean) frame? how much of the cell was warped? is there a layout? are there rays?
MASK_CHANNELS = 4
RAY_CHANNELS = 6

# Vehicles cover few cells and matter most, so their cells weigh more in the loss (as in GeoDiffusion, Chen et al. 2024,
# arXiv 2306.04607).
BOX_WEIGHT = 3.0

# Wan's codec takes 1 + 4k frames; a token is two by two cells of eight pixels, and there are positions for so many.
_FRAME_STEP, _TOKEN_PX, _MAX_TOKENS = 4, 16, 64


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Conditions:
    """``warped`` and ``layout`` (B,Z,F,h,w), ``mask`` (B,4,F,h,w), ``rays`` (B,6,F,h,w), ``domain`` (B,), ``caption``.

    What is absent is zero: its channels, its mask, domain 0, caption ids 0.
    """

    warped: Tensor
    layout: Tensor
    mask: Tensor
    rays: Tensor
    domain: Tensor
    caption: Tensor
    num_views: int = 1

    @property
    def context_mask(self) -> Tensor:
        """(B,1,F,1,1), 1 at the frames that are given clean."""
        return self.mask[:, :1, :, :1, :1]

    def without_frames(self, drop: Tensor) -> "Conditions":
        """First frames, and with them all that was warped from them, withheld where ``drop`` (B,) is True."""
        keep = _keep_mask(drop)
        mask = torch.cat([self.mask[:, :2] * keep, self.mask[:, 2:]], 1)
        return replace(self, warped=self.warped * keep, mask=mask)

    def without_layout(self, drop: Tensor) -> "Conditions":
        keep = _keep_mask(drop)
        mask = torch.cat([self.mask[:, :2], self.mask[:, 2:3] * keep, self.mask[:, 3:]], 1)
        return replace(self, layout=self.layout * keep, mask=mask)

    def without_pose(self, drop: Tensor) -> "Conditions":
        """No rays, and nothing warped by the motion either: only the given frames themselves stay."""
        keep = _keep_mask(drop)
        stay = torch.maximum(keep, self.context_mask)
        mask = torch.cat([self.mask[:, :1], self.mask[:, 1:2] * stay, self.mask[:, 2:3], self.mask[:, 3:] * keep], 1)
        return replace(self, warped=self.warped * stay, rays=self.rays * keep, mask=mask)

    def without_text(self, drop: Tensor) -> "Conditions":
        """Neither caption nor domain."""
        keep = (~drop).long()
        return replace(self, domain=self.domain * keep, caption=self.caption * keep[:, None])

    def as_continuation(self, latents: Tensor, num_context_frames: Tensor) -> "Conditions":
        """The first ``num_context_frames`` (B,) frames of ``latents`` (B,Z,F,h,w) given, and no command: how will it go on?

        Where ``num_context_frames`` is 0 nothing changes. Later frames start from the last given one as it is: what moves in
        them, and how, has to come from the model.
        """
        positions = torch.arange(latents.shape[2], device=latents.device)
        frame_numbers = positions % (len(positions) // self.num_views)
        frames_past_context = (frame_numbers - num_context_frames.clamp_min(1)[:, None] + 1).clamp_min(0)
        warped = latents.gather(2, (positions - frames_past_context)[:, None, :, None, None].expand_as(latents))
        context_mask = (
            (frames_past_context == 0)[:, None, :, None, None].expand_as(self.mask[:, :1]).to(self.mask.dtype)
        )
        commanded = self.without_layout(num_context_frames > 0).without_pose(num_context_frames > 0)
        is_continuation = (num_context_frames > 0).view(-1, 1, 1, 1, 1)
        return replace(
            commanded,
            warped=torch.where(is_continuation, warped, commanded.warped),
            mask=torch.where(
                is_continuation, torch.cat([context_mask, context_mask, commanded.mask[:, 2:]], 1), commanded.mask
            ),
        )

    def unconditional(self) -> "Conditions":
        """What classifier-free guidance steers away from: the given frames and nothing else."""
        drop_all = torch.ones(len(self.domain), dtype=torch.bool, device=self.domain.device)
        return self.without_layout(drop_all).without_pose(drop_all).without_text(drop_all)


def _keep_mask(drop: Tensor) -> Tensor:
    return (~drop).float().view(-1, 1, 1, 1, 1)


def require_encodable(scenes: Iterable[Scene]) -> None:
    """A UserError naming the first clip whose length or size no model takes: known before anything is rendered."""
    for scene in scenes:
        sides = {side for camera in scene.cameras for side in (camera.height, camera.width)}
        fits = scene.num_frames % _FRAME_STEP == 1 and scene.num_frames <= _MAX_TOKENS
        if not fits or any(side % _TOKEN_PX or side > _TOKEN_PX * _MAX_TOKENS for side in sides):
            camera = scene.cameras[0]
            raise UserError(
                f"clip {scene.clip_id} has {scene.num_frames} frames of {camera.width}x{camera.height}, the model "
                f"takes 1 + {_FRAME_STEP}k frames up to {_MAX_TOKENS - _FRAME_STEP + 1}, of sides that are multiples of "
                f"{_TOKEN_PX} up to {_TOKEN_PX * _MAX_TOKENS}"
            )


def encode_conditions(
    vae: AutoencoderKLWan, scene: Scene, first_frames: NDArray[np.uint8] | None, num_context_frames: int = 1
) -> dict[str, Tensor]:
    """One clip's tensors, all but words: ``warped``, ``layout`` (Z,F,h,w), ``mask`` (4,...), ``rays`` (6,...).

    ``first_frames`` is ``(V, >= num_given, H, W, 3)`` uint8, or None. Where the scene has no pose, only the given
    frames themselves are warped, and layout and rays are absent.
    """
    views = [
        _encode_view(vae, scene, camera, None if first_frames is None else first_frames[v, :num_context_frames])
        for v, camera in enumerate(scene.cameras)
    ]
    return {name: torch.cat([view[name] for view in views], 1) for name in views[0]}


def _encode_view(
    vae: AutoencoderKLWan, scene: Scene, camera: Camera, context_frames: NDArray[np.uint8] | None
) -> dict[str, Tensor]:
    cell, num_frames = vae.config.patch_size, scene.num_frames
    grid = (num_frames, camera.height // cell, camera.width // cell)
    has_pose = scene.ego_to_world is not None and camera.is_calibrated
    has_layout = has_pose and bool(scene.tracks or scene.lanes)
    out = {
        "warped": torch.zeros(vae.config.z_dim, *grid),
        "layout": torch.zeros(vae.config.z_dim, *grid),
        "mask": torch.zeros(MASK_CHANNELS, *grid),
        "rays": torch.zeros(RAY_CHANNELS, *grid),
    }
    if has_pose:
        out["rays"] = torch.from_numpy(plucker_rays(scene, camera, cell))
        out["mask"][3] = 1
    if has_layout:
        out["layout"] = encode(vae, torch.from_numpy(render_layout(scene, camera))[None])[0]
        out["mask"][2] = 1
    if context_frames is not None:
        frames, warped = _warped_video(scene, camera, context_frames, has_pose)
        num_warped = num_frames if has_pose else len(context_frames)
        out["warped"][:, :num_warped] = encode(vae, torch.from_numpy(frames)[None])[0][:, :num_warped]
        out["mask"][0, : len(context_frames)] = 1
        out["mask"][1] = _average_over_cells(warped, cell)
    return out


def _warped_video(
    scene: Scene, camera: Camera, context_frames: NDArray[np.uint8], has_pose: bool
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Video ``(T, H, W, 3)``, the given frames and then the last of them warped, and its mask ``(T, H, W)``."""
    last = len(context_frames) - 1
    frames = np.full((scene.num_frames, camera.height, camera.width, 3), 128, np.uint8)
    mask = np.zeros(frames.shape[:3], np.bool_)
    if has_pose:
        frames[last:], mask[last:] = warp_frame(context_frames[last], scene, camera, last)
    frames[: last + 1], mask[: last + 1] = context_frames, True
    return frames, mask


def encode_clip(vae: AutoencoderKLWan, clip: Clip, num_context_frames: int = 1) -> dict[str, Tensor]:
    """All tensors of one training clip: conditions, ``latents`` (Z,F,h,w) and ``cell_weight`` (F,h,w) of the loss.

    Held frames weigh nothing; cells on commanded boxes weigh more than the rest.
    """
    tensors = encode_conditions(vae, clip.scene, clip.frames, num_context_frames)
    tensors["latents"] = torch.cat(list(encode(vae, torch.from_numpy(np.array(clip.frames)))), 1)
    weights = [_cell_weight(clip.scene, camera, vae.config.patch_size) for camera in clip.scene.cameras]
    tensors["cell_weight"] = torch.cat(weights)
    return tensors


def _cell_weight(scene: Scene, camera: Camera, cell: int) -> Tensor:
    """(T,h,w): from 1 up to ``1 + BOX_WEIGHT`` with the share of the cell that is on a box, 0 in held frames."""
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
    tensors: Mapping[str, Tensor],
    domains: list[str],
    captions: list[str],
    known_domains: tuple[str, ...],
    num_views: int = 1,
) -> Conditions:
    """Batched tensors (B,...) and their words as Conditions; a domain the model does not know counts as absent."""
    ids = [1 + known_domains.index(name) if name in known_domains else 0 for name in domains]
    device = tensors["warped"].device
    return Conditions(
        warped=tensors["warped"].float(),
        layout=tensors["layout"].float(),
        mask=tensors["mask"].float(),
        rays=tensors["rays"].float(),
        domain=torch.tensor(ids, device=device),
        caption=torch.tensor([caption_ids(text) for text in captions], device=device),
        num_views=num_views,
    )
