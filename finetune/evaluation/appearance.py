"""How generated frames look: against the true next frame, and all clips of a domain against the true ones."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from driveforge.datasets.scene import Clip
from driveforge.datasets.select_frames import select_clip_frames
from driveforge.finetune.evaluation.clips import ProbeClip, ProbeSet
from driveforge.finetune.evaluation.results import ProbeValue
from driveforge.validation.set_metrics.appearance import looks_extractor
from driveforge.validation.set_metrics.features import Extractor, FeatureSet, embed_clips
from driveforge.validation.set_metrics.frechet import MIN_CLIPS, frechet_distance
from driveforge.validation.set_metrics.motion import CUBE_FRAMES, motion_extractor

FEWER_CLIPS = f"fewer than {MIN_CLIPS} clips of the domain"
FEWER_FRAMES = "too few frames"
BEST_PSNR = 60.0  # dB; equal pictures have none


def next_frame_values(clip: ProbeClip, frames: NDArray[np.uint8], start: int) -> Iterator[ProbeValue]:
    """``next/psnr`` dB and ``next/ssim`` of the first frame after ``start``.

    SSIM with a Gaussian window of 11 px and sigma 1.5 (Wang et al., "Image quality assessment", 2004).
    """
    made, true = (
        torch.from_numpy(np.array(f[start + 1])).permute(2, 0, 1)[None].float() for f in (frames, clip.frames)
    )
    psnr = min(float(peak_signal_noise_ratio(made, true, data_range=255.0)), BEST_PSNR)
    ssim = structural_similarity_index_measure(made, true, data_range=255.0)
    assert isinstance(ssim, torch.Tensor), "no picture of it was asked for"
    for measure, value in (("next/psnr", psnr), ("next/ssim", float(ssim))):
        yield ProbeValue(clip_id=clip.clip_id, domain=clip.domain, measure=measure, value=value)


def extractors() -> dict[str, Extractor]:
    return {"frechet/looks": looks_extractor(), "frechet/motion": motion_extractor()}


def frechet_values(
    probe_set: ProbeSet, generated: Mapping[ProbeClip, NDArray[np.uint8]], start: int
) -> Iterator[ProbeValue]:
    """Squared Frechet distances of each domain's generated clips to the true ones, from frame ``start`` on."""
    for domain in probe_set.domains:
        clips = tuple(probe_set.of(domain))
        for measure, extractor in extractors().items():
            why = _why_not(clips, start)
            value = None
            if not why:
                made = embed_clips(_after(clips, [generated[clip] for clip in clips], start), extractor)
                value = frechet_distance(_true_features(clips, start, measure), made, measure=measure, relabellings=0)
            yield ProbeValue(clip_id="", domain=domain, measure=measure, value=value.value if value else None, why=why)


def _why_not(clips: Sequence[ProbeClip], start: int) -> str:
    if len(clips) < MIN_CLIPS:
        return FEWER_CLIPS
    return FEWER_FRAMES if clips[0].scene.num_frames - start <= CUBE_FRAMES else ""


@lru_cache(maxsize=64)
def _true_features(clips: tuple[ProbeClip, ...], start: int, measure: str) -> FeatureSet:
    return embed_clips(_after(clips, [clip.frames for clip in clips], start), extractors()[measure])


def _after(clips: Sequence[ProbeClip], frames: Sequence[NDArray[np.uint8]], start: int) -> Iterator[Clip]:
    for clip, shown in zip(clips, frames, strict=True):
        yield select_clip_frames(clip.showing(shown), np.arange(start, clip.scene.num_frames))
