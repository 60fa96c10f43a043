"""Evaluation of a model on held-out clips of every domain: losses, motion and appearance of its continuations."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from driveforge.datasets.errors import UserError
from driveforge.finetune.evaluation import appearance, losses, motion, moving_regions, object_search, points, targets
from driveforge.finetune.evaluation.clips import EvaluationClip, EvaluationSet, make_batch
from driveforge.finetune.evaluation.random_numbers import derive_seed
from driveforge.finetune.evaluation.results import Evaluation, EvaluationValue
from driveforge.finetune.evaluation.settings import EvaluationSettings
from driveforge.finetune.world_model import flow, sampling
from driveforge.finetune.world_model.codec import Codec, count_frames, count_latent_frames
from driveforge.finetune.world_model.model import WorldModel
from driveforge.finetune.world_model.sampler_settings import SamplerSettings
from driveforge.finetune.world_model.sampling import sample
from driveforge.validation.set_metrics.features import code_hash

Frames = NDArray[np.uint8]


def evaluate(
    model: WorldModel,
    evaluation_set: EvaluationSet,
    settings: EvaluationSettings,
    on_clip: Callable[[EvaluationClip, Frames], None] | None = None,
) -> Evaluation:
    """All measures of ``model`` on ``evaluation_set``.

    ``on_clip`` is called with every clip and its generated frames (T,H,W,3) uint8. The same model, set and settings
    give the same values. The model's mode is restored and no global random generator is used, so training is not
    affected. Raises UserError if the clips were encoded by another codec than the model's, or if it has no latent
    frame boundary after ``settings.context_frames`` frames.
    """
    if model.codec.digest() != evaluation_set.codec_digest:
        raise UserError(
            "the evaluation clips were encoded by another codec than this model's: encode them with this one"
        )
    require_context(settings.context_frames, evaluation_set.clips[0].scene.num_frames, model.codec)
    values: list[EvaluationValue] = []
    generated: dict[EvaluationClip, Frames] = {}
    with torch.no_grad(), _eval_mode(model):
        for clips in _split_batches(evaluation_set.clips, settings.batch_size):
            values += losses.measure_losses(model, clips, settings)
            if settings.dynamics:
                generated.update(zip(clips, generate_continuations(model, clips, settings), strict=True))
    for clip, frames in generated.items():
        values += measure_generated_clip(clip, frames, settings)
        if on_clip is not None:
            on_clip(clip, frames)
    if generated:
        values += appearance.measure_frechet(evaluation_set, generated, settings.context_frames - 1)
    return Evaluation(protocol=describe_protocol(evaluation_set, settings), values=tuple(values))


def require_context(context_frames: int, num_frames: int, codec: Codec) -> None:
    """Raise UserError unless ``context_frames`` are whole latent frames, and fewer than the frames of a clip."""
    if context_frames >= num_frames:
        raise UserError(
            f"evaluate.context_frames={context_frames} leaves nothing to predict of clips of {num_frames} frames: set "
            "it lower, or data.num_frames higher"
        )
    whole = count_frames(count_latent_frames(context_frames, codec.temporal_stride), codec.temporal_stride)
    if whole != context_frames:
        raise UserError(
            f"evaluate.context_frames={context_frames} ends within a latent frame: the model's codec takes "
            f"1 + {codec.temporal_stride}k frames, set it to {whole} or {whole + codec.temporal_stride}"
        )


def evaluate_frames(
    evaluation_set: EvaluationSet, settings: EvaluationSettings, make_frames: Callable[[EvaluationClip], Frames]
) -> Evaluation:
    """The motion and appearance measures of ``make_frames``: references such as true or repeated frames."""
    generated = {clip: make_frames(clip) for clip in evaluation_set.clips}
    values = [value for clip, frames in generated.items() for value in measure_generated_clip(clip, frames, settings)]
    values += appearance.measure_frechet(evaluation_set, generated, settings.context_frames - 1)
    return Evaluation(protocol=describe_protocol(evaluation_set, settings), values=tuple(values))


def repeat_last_frame(clip: EvaluationClip, context_frames: int) -> Frames:
    """The clip frozen at its last context frame."""
    frames = clip.frames.copy()
    frames[context_frames:] = frames[context_frames - 1]
    return frames


def measure_generated_clip(
    clip: EvaluationClip, frames: Frames, settings: EvaluationSettings
) -> Iterator[EvaluationValue]:
    """The motion and appearance measures of one generated clip."""
    yield from motion.measure_motion(clip, frames, settings.context_frames - 1)
    yield from appearance.measure_next_frame(clip, frames, settings.context_frames - 1)


def generate_continuations(
    model: WorldModel, clips: Sequence[EvaluationClip], settings: EvaluationSettings
) -> list[Frames]:
    """The unconditional continuation of each clip, sampled from pure noise."""
    latents, command = make_batch(model, clips)
    num_context = count_latent_frames(settings.context_frames, model.codec.temporal_stride)
    conditions = command.as_continuation(latents, torch.full((len(clips),), num_context, device=latents.device))
    sampler = SamplerSettings(
        num_steps=settings.num_steps,
        strength=1.0,
        inpaint_steps=0,
        inpaint_strength=1.0,
        guidance_scale=1.0,
        negative_prompt=None,
        step_cache=0.0,
        tiled_decoding=False,
        sigmas=(),
        chunk_frames=None,
        overlap_frames=1,
        context_noise=0.0,
        anchor_share=None,
    )
    seeds = [derive_seed(settings.seed, clip, "generate") for clip in clips]
    frames = model.codec.decode(sample(model, conditions, seeds, sampler)).cpu().numpy()
    return list(frames)


def describe_protocol(evaluation_set: EvaluationSet, settings: EvaluationSettings) -> str:
    """Everything that the values depend on except the model; values of different protocols cannot be compared."""
    steps = f"{settings.num_steps} steps" if settings.dynamics else "losses only"
    bins = " ".join(f"{edge:g}" for edge in settings.sigma_edges)
    return (
        f"evaluation {_code_digest()} on {evaluation_set}; {settings.context_frames} context frames, {steps}, "
        f"loss of {'+'.join(settings.modes)} in bins {bins}, seed {settings.seed}"
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
    """Evaluation mode inside the context; on exit the mode of every module is restored."""
    training_before: Mapping[torch.nn.Module, bool] = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in training_before.items():
            module.training = training


def _split_batches(clips: Sequence[EvaluationClip], size: int) -> Iterator[list[EvaluationClip]]:
    remaining = iter(clips)
    while batch := list(islice(remaining, size)):
        yield batch
