"""Loss by noise level, apart for what moves and what stands: forgetting shows first where it is not averaged away.

How much is forgotten differs by noise level (Zajac et al. 2023, arXiv 2303.15342), and what moves covers few cells.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from driveforge.finetune.evaluation.clips import ProbeClip, batch_of
from driveforge.finetune.evaluation.random_numbers import generator_of
from driveforge.finetune.evaluation.results import ProbeValue
from driveforge.finetune.evaluation.settings import Mode, ProbeSettings
from driveforge.finetune.world_model.conditions import Conditions
from driveforge.finetune.world_model.flow import Velocity

NOTHING_MOVES = "nothing moves by itself"
NOTHING_STANDS = "everything moves by itself"
MIN_CELLS = 1.0  # a region smaller than this in all frames together is none


def losses(
    model: Velocity,
    clips: Sequence[ProbeClip],
    known_domains: tuple[str, ...],
    device: torch.device,
    settings: ProbeSettings,
) -> Iterator[ProbeValue]:
    """``loss/<mode>/<low>-<high>/<region>`` of each clip: mean squared velocity error of the frames not given.

    Regions are ``all``, ``moving`` (cells weighted by the share of them that moves) and ``static`` (none of it does).
    Noise and its level are fixed for each clip and bin, whatever else is in the set.
    """
    latents, command = batch_of(clips, known_domains, device)
    for mode in settings.modes:
        conditions = _told(command, latents, mode, settings.context)
        for number, (low, high) in enumerate(settings.bins):
            error = _errors(model, latents, conditions, clips, settings, number, (low, high))
            for clip, of_clip in zip(clips, error, strict=True):
                yield from _of_regions(clip, of_clip, f"loss/{mode}/{low:g}-{high:g}", settings.context)


def _told(command: Conditions, latents: Tensor, mode: Mode, context: int) -> Conditions:
    given = torch.full((len(latents),), context if mode == "predict" else 0, device=latents.device)
    return command.going_on(latents, given)


def _errors(
    model: Velocity,
    latents: Tensor,
    conditions: Conditions,
    clips: Sequence[ProbeClip],
    settings: ProbeSettings,
    number: int,
    limits: tuple[float, float],
) -> Tensor:
    """Squared velocity errors (B,F,h,w), the mean of all channels."""
    generators = [generator_of(settings.seed, clip, f"loss {number}") for clip in clips]
    places = torch.stack([torch.rand((), generator=generator) for generator in generators])
    noise = torch.stack([torch.randn(latents.shape[1:], generator=generator) for generator in generators])
    sigma = (limits[0] + (limits[1] - limits[0]) * places).to(latents.device)
    noise, level = noise.to(latents.device), sigma.view(-1, 1, 1, 1, 1)
    noisy = torch.where(conditions.given > 0, latents, (1 - level) * latents + level * noise)
    return (model(noisy, sigma, conditions).float() - (noise - latents)).square().mean(1).cpu()


def _of_regions(clip: ProbeClip, error: Tensor, name: str, context: int) -> Iterator[ProbeValue]:
    error, moving = error[context:], clip.tensors["moving"].float()[context:].numpy()
    regions = {
        "all": (np.ones_like(moving), ""),
        "moving": (moving, NOTHING_MOVES),
        "static": ((moving == 0).astype(np.float32), NOTHING_STANDS),
    }
    for region, (weight, why) in regions.items():
        mass = float(weight.sum())
        value = float((error.numpy() * weight).sum() / mass) if mass >= MIN_CELLS else None
        yield ProbeValue(
            clip_id=clip.clip_id,
            domain=clip.domain,
            measure=f"{name}/{region}",
            value=value,
            why="" if value is not None else why,
        )
