"""Baselines on matched keypoints of neighboring frames, under a fitted or the commanded epipolar geometry."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import Array
from driveforge.datasets.scene import Clip
from driveforge.pipelines.studies.validator.baselines.records import baseline_measure
from driveforge.validation.camera.epipolar import essential_matrix, sampson_distance
from driveforge.validation.camera.epipolar_measures import MIN_ADJACENT_BASELINE_M
from driveforge.validation.records import STATIONARY_EGO, TOO_FEW_FRAMES, Measure, Sample
from driveforge.validation.views.view import CommandedCamera, reference_view, single_threaded_opencv

MAX_KEYPOINTS = 2048
LOWE_RATIO = 0.8
MIN_MATCHES_TO_FIT = 8
COOKBOOK_ROWS = 540
RANSAC_PX = 3.0  # in an image of COOKBOOK_ROWS: OpenCV's default
TSED_PX = 2.0  # T_e, in an image of 256 rows
TSED_MATCHES = 10  # T_m
TOO_FEW_MATCHES = "too few matches"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class KeypointMatches:
    """Matched points in ``frame`` (``a``) and in the next (``b``), each ``(N, 3)``: x, y in px, and 1."""

    frame: int
    a: Array
    b: Array

    @property
    def frames(self) -> tuple[int, int]:
        return self.frame, self.frame + 1


def self_fitted_sampson(clip: Clip) -> Measure:
    """Temporal Sampson error of NVIDIA's Cosmos cookbook, px in an image of 540 rows; higher is worse.

    For each pair of consecutive frames a fundamental matrix is fitted by RANSAC to the matches, and the median root of
    the squared Sampson error of the same matches is computed; the clip's value is the median over frames. SIFT (as in
    the cookbook's README) replaces SuperPoint and LightGlue (as in its code), which need weights. Pairs without a fit
    are left out, as in the original. Since the geometry is fitted to the clip, it cannot detect a wrong command.

    Source: nvidia-cosmos/cosmos-cookbook, ``scripts/metrics/geometrical_consistency/sampson`` (2025), for images of
    960 x 540 px, where less than 1 px is excellent and more than 5 px is poor.
    """
    view = reference_view(clip)
    scale = COOKBOOK_ROWS / view.gray.shape[1]
    samples = []
    for pair in match_adjacent_frames(view.gray):
        fundamental = _fundamental(pair, RANSAC_PX / scale)
        if fundamental is not None:
            error = np.abs(sampson_distance(fundamental, pair.a, pair.b)) * scale
            samples.append(Sample(value=float(np.median(error)), frames=pair.frames))
    reason = TOO_FEW_FRAMES if view.num_frames < 2 else TOO_FEW_MATCHES
    return baseline_measure("baseline_self_fitted_sampson", "px", samples, reason, np.median)


def tsed(clip: Clip) -> Measure:
    """1 - TSED: the share of neighboring pairs that do not fit the commanded poses; higher is worse.

    A pair is consistent if it has at least 10 matches and their median symmetric epipolar distance is below 2 px (at
    256 rows, as in the original). Pairs with almost no camera motion have no epipolar lines and are left out.

    Source: Yu et al., "Long-term photometric consistent novel view synthesis with diffusion models" (ICCV 2023), with
    T_e and T_m as in YorkUCVIL/Photoconsistent-NVS, ``compute_sed.py`` and ``eval_consistency.py``.
    """
    view = reference_view(clip)
    if view.command is None:
        return baseline_measure("baseline_tsed", "share", [], view.reason, np.mean)
    samples = []
    for pair in match_adjacent_frames(view.gray):
        motion = view.command.motion(*pair.frames)
        if motion.baseline < MIN_ADJACENT_BASELINE_M:
            continue
        f = _pixel_fundamental(essential_matrix(motion.rotation, motion.translation), view.command)
        is_consistent = (
            len(pair.a) >= TSED_MATCHES and np.median(epipolar_distance(f, pair.a, pair.b)) * view.scale < TSED_PX
        )
        samples.append(Sample(value=0.0 if is_consistent else 1.0, frames=pair.frames))
    return baseline_measure(
        "baseline_tsed", "share", samples, TOO_FEW_FRAMES if view.num_frames < 2 else STATIONARY_EGO, np.mean
    )


def match_adjacent_frames(gray: NDArray[np.uint8]) -> list[KeypointMatches]:
    """SIFT matches of neighboring frames ``(T, H, W)`` that are mutual and pass the ratio test.

    Lowe, "Distinctive image features from scale-invariant keypoints" (IJCV 2004), section 7.1.
    """
    sift = cv2.SIFT.create(nfeatures=MAX_KEYPOINTS)
    with single_threaded_opencv():
        found = [sift.detectAndCompute(frame, None) for frame in gray]
        return [_match(t, *a, *b) for t, (a, b) in enumerate(pairwise(found))]


def _match(
    frame: int,
    points_a: Sequence[cv2.KeyPoint],
    descriptors_a: NDArray[np.float32] | None,
    points_b: Sequence[cv2.KeyPoint],
    descriptors_b: NDArray[np.float32] | None,
) -> KeypointMatches:
    if descriptors_a is None or descriptors_b is None:
        return KeypointMatches(frame=frame, a=np.zeros((0, 3)), b=np.zeros((0, 3)))
    forward = _ratio_test_matches(descriptors_a, descriptors_b)
    backward = _ratio_test_matches(descriptors_b, descriptors_a)
    mutual = [(i, j) for i, j in forward.items() if backward.get(j) == i]
    return KeypointMatches(
        frame=frame,
        a=np.array([(*points_a[i].pt, 1.0) for i, _ in mutual]).reshape(-1, 3),
        b=np.array([(*points_b[j].pt, 1.0) for _, j in mutual]).reshape(-1, 3),
    )


def _ratio_test_matches(descriptors: NDArray[np.float32], candidates: NDArray[np.float32]) -> dict[int, int]:
    """The nearest candidate of each descriptor that passes Lowe's ratio test against the second nearest."""
    found = cv2.BFMatcher(cv2.NORM_L2).knnMatch(descriptors, candidates, k=2)
    return {
        pair[0].queryIdx: pair[0].trainIdx
        for pair in found
        if len(pair) == 2 and pair[0].distance < LOWE_RATIO * pair[1].distance
    }


def epipolar_distance(fundamental: Array, a: Array, b: Array) -> Array:
    """Symmetric epipolar distance ``(N,)`` px of points ``(N, 3)``: half the sum of the distances to the two lines."""
    line_b, line_a = a @ fundamental.T, b @ fundamental
    product = np.abs((line_b * b).sum(1))
    to_b = product / np.maximum(np.linalg.norm(line_b[:, :2], axis=1), 1e-12)
    to_a = product / np.maximum(np.linalg.norm(line_a[:, :2], axis=1), 1e-12)
    return np.asarray((to_a + to_b) / 2)


def _fundamental(pair: KeypointMatches, threshold_px: float) -> Array | None:
    """F ``(3, 3)`` with b'Fa = 0 by RANSAC; None if the fit fails."""
    if len(pair.a) < MIN_MATCHES_TO_FIT:
        return None
    with single_threaded_opencv():
        fundamental, _ = cv2.findFundamentalMat(pair.a[:, :2], pair.b[:, :2], cv2.FM_RANSAC, threshold_px, 0.99)
    return None if fundamental is None or fundamental.shape != (3, 3) else np.asarray(fundamental)


def _pixel_fundamental(essential_matrix: Array, command: CommandedCamera) -> Array:
    to_plane = np.linalg.inv(command.intrinsics)
    return np.asarray(to_plane.T @ essential_matrix @ to_plane)
