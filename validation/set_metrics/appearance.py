"""The appearance of a clip in 90 hand-crafted statistics: features of a Frechet distance of appearance.

The statistics are known to distinguish images without learning. Color statistics in decorrelated axes (Reinhard et al.,
"Color transfer between images", 2001). Energy and peakedness of band-pass images, which are sensitive to blur, noise
and lost texture, as in natural-scene statistics of quality (Mittal et al., "NIQE", 2013) and texture models (Portilla
and Simoncelli, 2000). Shares of gradients by direction, as in histograms of oriented gradients (Dalal and Triggs,
2005). Each is computed separately for the upper, middle and lower third of the image, since the content of a vehicle's
camera varies with height. There are few dimensions, so that about a hundred clips are enough; the 400 to 2048 of a
network take thousands. They ignore objects: a distance of 0 does not mean that the same things are shown.
"""

import sys
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import Array
from driveforge.datasets.scene import Clip
from driveforge.validation.set_metrics.features import Extractor, code_hash
from driveforge.validation.views import pixels
from driveforge.validation.views.pixels import reference_pixels

OCTAVES = 4  # from full resolution, which shows blur and noise; sets of different sizes are never compared
THIRDS = 3
DIRECTIONS = 4
FLOOR = 1 / 255
# The inverse spread of each kind of statistic over simulated and recorded driving clips, rounded, so that no kind
# dominates the distance. They are constants, since weights fitted to a set would change with it.
MEAN_WEIGHT, SPREAD_WEIGHT, ENERGY_WEIGHT, PEAKEDNESS_WEIGHT, DIRECTION_WEIGHT = 6.0, 8.0, 0.75, 3.0, 1.5
# Luma and two color differences (Rec. 601) of red, green and blue in 0..1.
OPPONENT = np.array([[0.299, 0.587, 0.114], [0.701, -0.587, -0.114], [-0.299, -0.587, 0.886]], np.float32)

Plane = NDArray[np.float32]


def appearance_extractor() -> Extractor:
    """One row of ``appearance_features`` per clip."""
    return Extractor(
        name="appearance",
        hash=code_hash(sys.modules[__name__], pixels),
        embed=lambda clip: appearance_features(clip)[None],
    )


def appearance_features(clip: Clip) -> Array:
    """The statistics ``(90,)`` of the reference view, averaged over its frames; see ``frame_appearance_features``."""
    return np.asarray(np.mean([frame_appearance_features(frame) for frame in reference_pixels(clip)], axis=0))


def frame_appearance_features(frame: NDArray[np.uint8]) -> Array:
    """``(90,)``: 30 weighted statistics for each third of an RGB frame ``(H, W, 3)``, from the top.

    They are 3 color means and 3 color standard deviations (1 is full scale), then for each of 4 octaves of luma the
    log energy, the peakedness (mean absolute value over root mean square of the band: 0.80 for noise, less for edges)
    and 4 shares of gradient directions.
    """
    colors = np.asarray(frame, np.float32) / 255 @ OPPONENT.T
    bands = [_thirds(octave) for octave in _octaves(np.ascontiguousarray(colors[..., 0]))]
    return np.concatenate(
        [
            np.concatenate([_color(third), *(_texture(octave[i]) for octave in bands)])
            for i, third in enumerate(_thirds(colors))
        ]
    )


def _octaves(luma: Plane) -> list[NDArray[np.float32]]:
    """For each octave ``(H, W, 3)``: band-pass luma, and the gradient of low-pass luma along x and y."""
    octaves = []
    for _ in range(OCTAVES):
        smooth = cv2.GaussianBlur(luma, (5, 5), 1.0)
        gradient = [cv2.Sobel(smooth, cv2.CV_32F, *axis) for axis in ((1, 0), (0, 1))]
        octaves.append(np.stack([luma - smooth, *gradient], -1))
        luma = np.ascontiguousarray(smooth[::2, ::2])
    return octaves


def _thirds(image: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Upper, middle and lower third ``(N, C)``; each has at least one row, even in small images."""
    height = len(image)
    edges = [round(i * height / THIRDS) for i in range(THIRDS + 1)]
    return [
        image[min(a, height - 1) : max(b, min(a, height - 1) + 1)].reshape(-1, image.shape[-1])
        for a, b in pairwise(edges)
    ]


def _color(third: NDArray[np.float32]) -> Array:
    return np.asarray(np.concatenate([MEAN_WEIGHT * third.mean(0), SPREAD_WEIGHT * third.std(0)]), np.float64)


def _texture(octave: NDArray[np.float32]) -> Array:
    band, gradient = np.abs(octave[:, 0]), octave[:, 1:]
    energy = float(np.sqrt((band**2).mean()))
    strength = np.linalg.norm(gradient, axis=1)
    # Modulo DIRECTIONS over half a turn: opposite gradients count as the same direction.
    direction = np.round(np.arctan2(gradient[:, 1], gradient[:, 0]) / np.pi * DIRECTIONS).astype(int) % DIRECTIONS
    shares = np.bincount(direction, strength, minlength=DIRECTIONS) + FLOOR / DIRECTIONS
    peakedness = float(band.mean()) / (energy + FLOOR)
    return np.array(
        [
            ENERGY_WEIGHT * np.log(energy + FLOOR),
            PEAKEDNESS_WEIGHT * peakedness,
            *(DIRECTION_WEIGHT * shares / shares.sum()),
        ]
    )
