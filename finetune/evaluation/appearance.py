"""Appearance of generated frames: the next frame against the true one, and all clips of a domain as a set."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from driveforge.datasets.scene import Clip
from driveforge.datasets.select_frames import select_clip_frames
from driveforge.finetune.evaluation.clips import EvaluationClip, EvaluationSet
from driveforge.finetune.evaluation.results import EvaluationValue
from driveforge.validation.set_metrics.appearance import appearance_extractor
from driveforge.validation.set_metrics.features import Extractor, FeatureSet, embed_clips
from driveforge.validation.set_metrics.frechet import MIN_CLIPS, frechet_distance
from driveforge.validation.set_metrics.motion import CUBE_FRAMES, motion_extractor

TOO_FEW_CLIPS = f"fewer than {MIN_CLIPS} clips of the domain"
TOO_FEW_FRAMES = "too few frames"
MAX_PSNR = 60.0  # dB; that of equal images is infinite


def measure_next_frame(clip: EvaluationClip, frames: NDArray[np.uint8], start: int) -> Iterator[EvaluationValue]:
    """``next_frame/psnr`` dB and ``next_frame/ssim`` of the first frame after ``start``.

    SSIM with a Gaussian window of 11 px and sigma 1.5 (Wang et al., "Image quality assessment", 2004).
    """
    generated_frame, true = (
        torch.from_numpy(np.array(f[start + 1])).permute(2, 0, 1)[None].float() for f in (frames, clip.frames)
    )
    psnr = min(float(peak_signal_noise_ratio(generated_frame, true, data_range=255.0)), MAX_PSNR)
    ssim = structural_similarity_index_measure(generated_frame, true, data_range=255.0)
    assert isinstance(ssim, torch.Tensor), "torchmetrics returns a tuple only with return_full_image"
    for measure, value in (("next_frame/psnr", psnr), ("next_frame/ssim", float(ssim))):
        yield EvaluationValue(clip_id=clip.clip_id, domain=clip.domain, measure=measure, value=value)


def make_extractors() -> dict[str, Extractor]:
    return {"frechet/appearance": appearance_extractor(), "frechet/motion": motion_extractor()}


def measure_frechet(
    evaluation_set: EvaluationSet, generated: Mapping[EvaluationClip, NDArray[np.uint8]], start: int
) -> Iterator[EvaluationValue]:
    """Squared Frechet distances between the generated and the true clips of each domain, from frame ``start`` on."""
    for domain in evaluation_set.domains:
        clips = tuple(evaluation_set.clips_in(domain))
        for measure, extractor in make_extractors().items():
            reason, distance = _unavailable_reason(clips, start), None
            if not reason:
                frames = [generated[clip] for clip in clips]
                generated_features = embed_clips(_frames_after(clips, frames, start), extractor)
                true_features = _embed_true_clips(clips, start, measure)
                distance = frechet_distance(
                    true_features, generated_features, measure=measure, num_permutations=0
                ).value
            yield EvaluationValue(clip_id="", domain=domain, measure=measure, value=distance, reason=reason)


def _unavailable_reason(clips: Sequence[EvaluationClip], start: int) -> str:
    """The reason why there is no Frechet distance; empty if there is one."""
    if len(clips) < MIN_CLIPS:
        return TOO_FEW_CLIPS
    return TOO_FEW_FRAMES if clips[0].scene.num_frames - start <= CUBE_FRAMES else ""


@lru_cache(maxsize=64)
def _embed_true_clips(clips: tuple[EvaluationClip, ...], start: int, measure: str) -> FeatureSet:
    return embed_clips(_frames_after(clips, [clip.frames for clip in clips], start), make_extractors()[measure])


def _frames_after(clips: Sequence[EvaluationClip], frames: Sequence[NDArray[np.uint8]], start: int) -> Iterator[Clip]:
    for clip, clip_frames in zip(clips, frames, strict=True):
        yield select_clip_frames(clip.with_frames(clip_frames), np.arange(start, clip.scene.num_frames))
