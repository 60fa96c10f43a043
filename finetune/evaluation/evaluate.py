"""The probe: what a model can do on held-out clips of every domain, as numbers that can be compared over time."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from driveforge.datasets.errors import UserError
from driveforge.finetune.evaluation import appearance, losses, motion, moving_regions, object_search, points, targets
from driveforge.finetune.evaluation.clips import EvaluationClip, EvaluationSet, compute_vae_digest, make_batch
from driveforge.finetune.evaluation.random_numbers import derive_seed
from driveforge.finetune.evaluation.results import Evaluation, EvaluationValue
from driveforge.finetune.evaluation.settings import EvaluationSettings
from driveforge.finetune.world_model import flow, sampling
from driveforge.finetune.world_model.model import WorldModel
from driveforge.finetune.world_model.sampler_settings import SamplerSettings
from driveforge.finetune.world_model.sampling import sample
from driveforge.finetune.world_model.vae import decode
from driveforge.validation.set_metrics.features import code_hash

Frames = NDArray[np.uint8]


def evaluate(
    model: WorldModel,
    evaluation_set: EvaluationSet,
    settings: EvaluationSettings,
    on_clip: Callable[[EvaluationClip, Frames], None] | None = None,
) -> Evaluation:
    """Every measure of ``model`` on ``evaluation_set``; ``on_clip`` is shown each clip that was generated, (T,H,W,3) uint8.

    The same model, set and settings give the same values. The model is left as it was found, in training or not, and
    no global random generator is touched, so that a training run goes on as if nobody had looked.
    A UserError where the clips were encoded by another codec than the model's.
    """
    if compute_vae_digest(model.vae) != evaluation_set.vae_digest:
        raise UserError("the probe's clips were encoded by another codec than this model's: build the set for this one")
    values: list[EvaluationValue] = []
    generated: dict[EvaluationClip, Frames] = {}
    with torch.no_grad(), _eval_mode(model):
        for clips in _split_batches(evaluation_set.clips, settings.batch_size):
            values += losses.measure_losses(model, clips, model.config.domains, model.device, settings)
            if settings.dynamics:
                generated.update(zip(clips, generate_continuations(model, clips, settings), strict=True))
    for clip, frames in generated.items():
        values += measure_generated_clip(clip, frames, settings)
        if on_clip is not None:
            on_clip(clip, frames)
    if generated:
        values += appearance.measure_frechet(evaluation_set, generated, settings.context_frames - 1)
    return Evaluation(protocol=describe_protocol(evaluation_set, settings), values=tuple(values))


def evaluate_frames(
    evaluation_set: EvaluationSet, settings: EvaluationSettings, make_frames: Callable[[EvaluationClip], Frames]
) -> Evaluation:
    """The measures of generation of clips that no model made: of ``true`` or ``repeat_last_frame`` ones, to read others by."""
    generated = {clip: make_frames(clip) for clip in evaluation_set.clips}
    values = [value for clip, frames in generated.items() for value in measure_generated_clip(clip, frames, settings)]
    values += appearance.measure_frechet(evaluation_set, generated, settings.context_frames - 1)
    return Evaluation(protocol=describe_protocol(evaluation_set, settings), values=tuple(values))


def repeat_last_frame(clip: EvaluationClip, context_frames: int) -> Frames:
    """The clip that stops at its last given frame."""
    frames = clip.frames.copy()
    frames[context_frames:] = frames[context_frames - 1]
    return frames


def measure_generated_clip(
    clip: EvaluationClip, frames: Frames, settings: EvaluationSettings
) -> Iterator[EvaluationValue]:
    """Everything that is measured on one generated clip."""
    yield from motion.measure_motion(clip, frames, settings.context_frames - 1)
    yield from appearance.measure_next_frame(clip, frames, settings.context_frames - 1)


def generate_continuations(
    model: WorldModel, clips: Sequence[EvaluationClip], settings: EvaluationSettings
) -> list[Frames]:
    """How ``model`` goes on from the first frames of each clip, without a command and from pure noise."""
    latents, command = make_batch(clips, model.config.domains, model.device)
    conditions = command.as_continuation(
        latents, torch.full((len(clips),), settings.context_frames, device=latents.device)
    )
    sampler = SamplerSettings(
        num_steps=settings.num_steps,
        strength=1.0,
        inpaint_steps=0,
        inpaint_strength=1.0,
        guidance_scale=1.0,
        sigmas=(),
    )
    seeds = [derive_seed(settings.seed, clip, "generate") for clip in clips]
    frames = decode(model.vae, sample(model, conditions, seeds, sampler)).cpu().numpy()
    return list(frames)


def describe_protocol(evaluation_set: EvaluationSet, settings: EvaluationSettings) -> str:
    """All that decides the numbers beside the model; values under two protocols cannot be compared."""
    steps = f"{settings.num_steps} steps" if settings.dynamics else "losses alone"
    bins = " ".join(f"{edge:g}" for edge in settings.sigma_edges)
    return (
        f"evaluation {_code_digest()} on {evaluation_set}; {settings.context_frames} frames given, {steps}, loss of {'+'.join(settings.modes)} "
        f"in bins {bins}, seed {settings.seed}"
    )


@cache
def _code_digest() -> str:
    extractors = (extractor.hash for extractor in appearance.make_extractors().values())
    return "-".join(
        [
            code_hash(flow, sampling, object_search, appearance, losses, motion, points, moving_regions, targets),
            *extractors,
        ]
    )


@contextlib.contextmanager
def _eval_mode(model: torch.nn.Module) -> Iterator[None]:
    """The model in evaluation mode within, each of its modules as before without."""
    was: Mapping[torch.nn.Module, bool] = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in was.items():
            module.training = training


def _split_batches(clips: Sequence[EvaluationClip], size: int) -> Iterator[list[EvaluationClip]]:
    remaining = iter(clips)
    while batch := list(islice(remaining, size)):
        yield batch
