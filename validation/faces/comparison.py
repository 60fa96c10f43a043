"""Two views of the same face of an object, compared at the resolution of the coarser one.

So nearness alone explains no difference: the nearer view is blurred until it shows no more than the farther one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.validation.faces.rectify import TEXELS, Face, FaceKey

STEP = 2  # frames
MIN_COMMON_TEXELS = 0.15  # share
MARGIN_TEXELS = 1  # shift that is searched, since boxes are not exact
# Standard deviation in texels of the blur of every view, and of that by a pixel which covers one texel.
BASE_BLUR, PIXEL_BLUR = 0.6, 0.6
CONTRAST_FLOOR = 5.0  # gray levels: below it, noise dominates
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)

Texture = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class FaceComparison:
    """``difference``: mean absolute difference of the colors at the best shift, over the contrast of both views.

    ``detail_loss``: the log detail of the earlier view minus that of the later one, where log detail is the mean of
    log(1 + abs(gray step)) between neighboring texels. ``weight``: the number of common texels, less for slanted faces.
    """

    difference: float
    detail_loss: float
    weight: float


# The comparisons of the faces of one object, by frame.
FaceSeries = dict[int, list[FaceComparison]]


def compare_steps(faces: Mapping[FaceKey, Sequence[Face]]) -> dict[int, FaceSeries]:
    """By object and the earlier frame, every face compared with itself ``STEP`` frames later."""
    compared: dict[int, FaceSeries] = {}
    for (box_index, _), views in faces.items():
        later = {view.frame - STEP: view for view in views}
        for view in views:
            if view.frame in later and (found := compare_faces(view, later[view.frame])):
                compared.setdefault(box_index, {}).setdefault(view.frame, []).append(found)
    return compared


def compare_faces(earlier: Face, later: Face) -> FaceComparison | None:
    """Compare two views of the same face; None if they have too few visible texels in common."""
    common = earlier.visible & later.visible
    if common.mean() < MIN_COMMON_TEXELS:
        return None
    blurs = [max(1 / face.px_per_texel, 1.0) for face in (earlier, later)]
    before, after = (
        _blur(face.texture, face.visible, np.hypot(BASE_BLUR, PIXEL_BLUR * np.sqrt(max(blurs) ** 2 - blur**2)))
        for face, blur in zip((earlier, later), blurs, strict=True)
    )
    gray_before, gray_after = before @ _LUMINANCE, after @ _LUMINANCE
    contrast = (_contrast(gray_before[common]) + _contrast(gray_after[common])) / 2
    difference = _least_difference(before, earlier.visible, after, later.visible)
    return FaceComparison(
        difference=difference / (contrast + CONTRAST_FLOOR),
        detail_loss=_log_detail(gray_before, common) - _log_detail(gray_after, common),
        weight=float(common.sum()) * min(earlier.cosine, later.cosine),
    )


def _blur(texture: Texture, visible: Mask, sigma: float) -> Texture:
    """Blur of the visible texels only (normalized convolution)."""
    weights = visible.astype(np.float32)
    total = cv2.GaussianBlur(texture * weights[..., None], (0, 0), sigma)
    return np.asarray(total / np.maximum(cv2.GaussianBlur(weights, (0, 0), sigma), 1e-3)[..., None], np.float32)


def _contrast(gray: Texture) -> float:
    return float(np.abs(gray - gray.mean()).mean())


def _least_difference(before: Texture, seen_before: Mask, after: Texture, seen_after: Mask) -> float:
    """Mean absolute difference of colors, at the shift of up to ``MARGIN_TEXELS`` where it is least."""
    margin = MARGIN_TEXELS
    padded = np.pad(after, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    padded_mask = np.pad(seen_after, margin)
    least = np.inf
    for row, column in np.ndindex(2 * margin + 1, 2 * margin + 1):
        window = np.s_[row : row + TEXELS, column : column + TEXELS]
        both = seen_before & padded_mask[window]
        if both.any():
            least = min(least, float(np.abs(before - padded[window])[both].mean()))
    return least


def _log_detail(gray: Texture, visible: Mask) -> float:
    right, down = visible[:, 1:] & visible[:, :-1], visible[1:] & visible[:-1]
    steps = np.concatenate([np.abs(np.diff(gray, axis=1))[right], np.abs(np.diff(gray, axis=0))[down]])
    return float(np.log1p(steps).mean()) if len(steps) else 0.0
