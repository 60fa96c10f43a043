"""How much of a crop's structure is damaged, against the same clip without failures: the target of the network.

Structure is compared by the contrast and structure term of SSIM (Wang et al. 2004), (2 cov + c) / (var + var' + c), on
band-passed gray images, where each place may move by ``MAX_SHIFT`` px: a facade or a wheel may be elsewhere, but has to
be a facade or a wheel. A color that is wrong over a large part counts as well.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import Array
from driveforge.validation.learned.crops import Crop

ROWS = 96  # of the images that are compared, so that a share is the same at every resolution
FINE_PX, COARSE_PX = 0.7, 4.0  # sigmas of the band
WINDOW_PX, MAX_SHIFT = 2.5, 2
FLAT = 16.0  # c, in squared gray levels: differences in flat places are noise
MIN_ENERGY = 4.0  # so that flat places count a little
COLOR_PX = 3.0
# Where damage begins, and where it is complete: of 1 - structure, and of the color in gray levels. A round trip through
# the VAE and H.264 is below the first.
STRUCTURE, COLOR = (0.12, 0.4), (12.0, 27.0)

Frame = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DamageMaps:
    """Maps ``(ROWS, W)`` of a frame: structure kept, its weight, and the difference in color, gray levels.

    ``scale`` is their resolution over that of the frame.
    """

    structure: Frame
    energy: Frame
    color: Array
    scale: float


def compare(frame: Frame, reference: Frame) -> DamageMaps:
    """Compare a frame ``(H, W, 3)`` RGB 0..255 with the same frame without failures."""
    scale = ROWS / frame.shape[0]
    size = (round(frame.shape[1] * scale), ROWS)
    small, intact = (cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in (frame, reference))
    structure, energy = _structure(_gray(small), _gray(intact))
    blurred, expected = (cv2.GaussianBlur(image, (0, 0), COLOR_PX) for image in (small, intact))
    return DamageMaps(structure=structure, energy=energy, color=np.abs(blurred - expected).mean(-1), scale=scale)


def damage(maps: DamageMaps, crop: Crop) -> float:
    """From 0 (as without failures) to 1, where the object or region of ``crop`` is visible."""
    # A window narrower than a pixel of the maps still has one.
    x0, y0, x1, y1 = (round(side * maps.scale) for side in crop.window)
    part = (slice(y0, max(y1, y0 + 1)), slice(x0, max(x1, x0 + 1)))
    structure, energy, color = maps.structure[part], maps.energy[part], maps.color[part]
    visible = cv2.resize(crop.image[9], structure.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
    if not visible.any():
        return 0.0
    weight = visible * (energy + MIN_ENERGY)
    lost = 1 - float((structure * weight).sum() / weight.sum())
    return max(_ramp(lost, *STRUCTURE), _ramp(float(color[visible].mean()), *COLOR))


def _structure(image: Frame, reference: Frame) -> tuple[Frame, Frame]:
    """The best structure term of each place over all shifts, and the variance of the reference's band."""
    expected = _band(reference)
    energy = _local_mean(expected**2)
    padded = cv2.copyMakeBorder(image, MAX_SHIFT, MAX_SHIFT, MAX_SHIFT, MAX_SHIFT, cv2.BORDER_REPLICATE)
    best = np.full(image.shape, -1.0, np.float32)
    height, width = image.shape
    for dy in range(2 * MAX_SHIFT + 1):
        for dx in range(2 * MAX_SHIFT + 1):
            found = _band(np.ascontiguousarray(padded[dy : dy + height, dx : dx + width]))
            same = (2 * _local_mean(expected * found) + FLAT) / (energy + _local_mean(found**2) + FLAT)
            best = np.maximum(best, same)
    return best, energy


def _band(image: Frame) -> Frame:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), FINE_PX) - cv2.GaussianBlur(image, (0, 0), COARSE_PX))


def _local_mean(image: Frame) -> Frame:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), WINDOW_PX))


def _gray(image: Frame) -> Frame:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))


def _ramp(value: float, low: float, high: float) -> float:
    return float(np.clip((value - low) / (high - low), 0, 1))
