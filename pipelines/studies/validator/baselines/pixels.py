"""Baselines on the change of pixels from frame to frame, in place or along dense flow."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.scene import Clip
from driveforge.pipelines.studies.validator.baselines.records import baseline_measure
from driveforge.validation.records import DEGENERATE, TOO_FEW_FRAMES, Measure, Sample
from driveforge.validation.views.flow import MIN_SIDE, FlowEstimator, dis_flow, is_visible, warp
from driveforge.validation.views.pixels import reference_pixels
from driveforge.validation.views.view import single_threaded_opencv

TOO_SMALL = f"images smaller than {MIN_SIDE} px"


def temporal_flicker(clip: Clip) -> Measure:
    """1 - VBench's temporal flickering: mean absolute difference of neighboring frames over 255; higher is worse.

    It was designed for clips of a static camera; for a moving camera it includes the motion.

    Source: Huang et al., "VBench: comprehensive benchmark suite for video generative models" (CVPR 2024),
    ``vbench/temporal_flickering.py``.
    """
    frames = reference_pixels(clip).astype(np.float32)
    samples = [
        Sample(value=float(np.abs(b - a).mean()) / 255, frames=(t, t + 1)) for t, (a, b) in enumerate(pairwise(frames))
    ]
    return baseline_measure("baseline_flicker", "share", samples, TOO_FEW_FRAMES, np.mean)


def warping_error(clip: Clip, flow: FlowEstimator = dis_flow) -> Measure:
    """Mean squared difference of each frame and the next one warped onto it, of full scale; higher is worse.

    Only pixels that are visible in both count (``is_visible``). For a step without such pixels, the published code adds
    an error of zero; here the step is left out. Dense inverse search replaces FlowNet2 or RAFT, unless ``flow`` is
    given.

    Source: Lai et al., "Learning blind video temporal consistency" (ECCV 2018), eq. 11.
    """
    frames = reference_pixels(clip)
    if min(frames.shape[1:3]) < MIN_SIDE:
        return baseline_measure("baseline_warping_error", "share", [], TOO_SMALL, np.mean)
    samples = []
    with single_threaded_opencv():
        for t, (a, b) in enumerate(pairwise(frames)):
            forward = flow(a, b)
            seen = is_visible(forward, flow(b, a))
            if seen.any():
                difference = (warp(b, forward) - a)[seen] / 255
                samples.append(Sample(value=float((difference**2).mean()), frames=(t, t + 1)))
    return baseline_measure(
        "baseline_warping_error", "share", samples, TOO_FEW_FRAMES if len(frames) < 2 else DEGENERATE, np.mean
    )


def interpolation_residual(clip: Clip, flow: FlowEstimator = dis_flow) -> Measure:
    """1 - VBench's motion smoothness: mean absolute difference of every second frame to what its neighbors predict.

    Of full scale; higher is worse. Frames 1, 3, 5, ... are interpolated from those before and after them, by the flow
    between these instead of the network AMT-S: F_t0 = (F_10 - F_01) / 4 and F_t1 = (F_01 - F_10) / 4 at half time, with
    both warped frames averaged (Jiang et al., "Super SloMo", CVPR 2018, eq. 4).

    Source: VBench (CVPR 2024), ``vbench/motion_smoothness.py``.
    """
    frames = reference_pixels(clip)
    if min(frames.shape[1:3]) < MIN_SIDE:
        return baseline_measure("baseline_interpolation_residual", "share", [], TOO_SMALL, np.mean)
    samples = []
    with single_threaded_opencv():
        for t in range(1, len(frames) - 1, 2):
            between = _half_way(frames[t - 1], frames[t + 1], flow)
            residual = float(np.abs(between - frames[t]).mean()) / 255
            samples.append(Sample(value=residual, frames=(t - 1, t + 1)))
    return baseline_measure("baseline_interpolation_residual", "share", samples, TOO_FEW_FRAMES, np.mean)


def _half_way(before: NDArray[np.uint8], after: NDArray[np.uint8], flow: FlowEstimator) -> NDArray[np.float32]:
    quarter = (flow(before, after) - flow(after, before)) / 4
    return np.asarray((warp(before, -quarter) + warp(after, quarter)) / 2, np.float32)
