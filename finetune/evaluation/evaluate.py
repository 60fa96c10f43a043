"""The probe: what a model can do on held-out clips of every domain, as numbers that can be compared over time."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from driveforge.datasets.errors import UserError
from driveforge.finetune.evaluation import appearance, losses, motion, object_search, points, regions, targets
from driveforge.finetune.evaluation.clips import ProbeClip, ProbeSet, batch_of, codec_digest
from driveforge.finetune.evaluation.random_numbers import seed_of
from driveforge.finetune.evaluation.results import Probed, ProbeValue
from driveforge.finetune.evaluation.settings import ProbeSettings
from driveforge.finetune.world_model import flow, sampling
from driveforge.finetune.world_model.model import WorldModel
from driveforge.finetune.world_model.sampler_settings import SamplerSettings
from driveforge.finetune.world_model.sampling import sample
from driveforge.finetune.world_model.vae import decode
from driveforge.validation.set_metrics.features import code_hash

Frames = NDArray[np.uint8]


def probe(
    model: WorldModel,
    probe_set: ProbeSet,
    settings: ProbeSettings,
    look: Callable[[ProbeClip, Frames], None] | None = None,
) -> Probed:
    """Every measure of ``model`` on ``probe_set``; ``look`` is shown each clip that was generated, (T,H,W,3) uint8.

    The same model, set and settings give the same values. The model is left as it was found, in training or not, and
    no global random generator is touched, so that a training run goes on as if nobody had looked.
    A UserError where the clips were encoded by another codec than the model's.
    """
    if codec_digest(model.vae) != probe_set.codec:
        raise UserError("the probe's clips were encoded by another codec than this model's: build the set for this one")
    values: list[ProbeValue] = []
    generated: dict[ProbeClip, Frames] = {}
    with torch.no_grad(), _evaluating(model):
        for clips in _batches(probe_set.clips, settings.batch_size):
            values += losses.losses(model, clips, model.config.domains, model.device, settings)
            if settings.dynamics:
                generated.update(zip(clips, generate(model, clips, settings), strict=True))
    for clip, frames in generated.items():
        values += clip_values(clip, frames, settings)
        if look is not None:
            look(clip, frames)
    if generated:
        values += appearance.frechet_values(probe_set, generated, settings.context - 1)
    return Probed(protocol=protocol_of(probe_set, settings), values=tuple(values))


def measured_as_if(probe_set: ProbeSet, settings: ProbeSettings, made: Callable[[ProbeClip], Frames]) -> Probed:
    """The measures of generation of clips that no model made: of ``true`` or ``frozen`` ones, to read others by."""
    generated = {clip: made(clip) for clip in probe_set.clips}
    values = [value for clip, frames in generated.items() for value in clip_values(clip, frames, settings)]
    values += appearance.frechet_values(probe_set, generated, settings.context - 1)
    return Probed(protocol=protocol_of(probe_set, settings), values=tuple(values))


def frozen(clip: ProbeClip, context: int) -> Frames:
    """The clip that stops at its last given frame."""
    frames = clip.frames.copy()
    frames[context:] = frames[context - 1]
    return frames


def clip_values(clip: ProbeClip, frames: Frames, settings: ProbeSettings) -> Iterator[ProbeValue]:
    """Everything that is measured on one generated clip."""
    yield from motion.motion_values(clip, frames, settings.context - 1)
    yield from appearance.next_frame_values(clip, frames, settings.context - 1)


def generate(model: WorldModel, clips: Sequence[ProbeClip], settings: ProbeSettings) -> list[Frames]:
    """How ``model`` goes on from the first frames of each clip, without a command and from pure noise."""
    latents, command = batch_of(clips, model.config.domains, model.device)
    conditions = command.going_on(latents, torch.full((len(clips),), settings.context, device=latents.device))
    sampler = SamplerSettings(
        num_steps=settings.num_steps,
        strength=1.0,
        inpaint_steps=0,
        inpaint_strength=1.0,
        guidance_scale=1.0,
        sigmas=(),
    )
    seeds = [seed_of(settings.seed, clip, "generate") for clip in clips]
    frames = decode(model.vae, sample(model, conditions, seeds, sampler)).cpu().numpy()
    return list(frames)


def protocol_of(probe_set: ProbeSet, settings: ProbeSettings) -> str:
    """All that decides the numbers beside the model; values under two protocols cannot be compared."""
    made = f"{settings.num_steps} steps" if settings.dynamics else "losses alone"
    bins = " ".join(f"{edge:g}" for edge in settings.sigma_edges)
    return (
        f"probe {_code()} on {probe_set}; {settings.context} frames given, {made}, loss of {'+'.join(settings.modes)} "
        f"in bins {bins}, seed {settings.seed}"
    )


@cache
def _code() -> str:
    extractors = (extractor.hash for extractor in appearance.extractors().values())
    return "-".join(
        [code_hash(flow, sampling, object_search, appearance, losses, motion, points, regions, targets), *extractors]
    )


@contextlib.contextmanager
def _evaluating(model: torch.nn.Module) -> Iterator[None]:
    """The model in evaluation mode within, each of its modules as before without."""
    was: Mapping[torch.nn.Module, bool] = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in was.items():
            module.training = training


def _batches(clips: Sequence[ProbeClip], size: int) -> Iterator[list[ProbeClip]]:
    remaining = iter(clips)
    while batch := list(islice(remaining, size)):
        yield batch
