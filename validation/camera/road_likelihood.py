"""The metric scale of a translation from sweeps of the road, with the pitch of the road as an unknown.

A sweep assumes a plane. If the true road is pitched by an angle p against it, a point that the plane places at distance
d lies 1 + p d / h times nearer (h: height of the camera), and so appears to be passed at 1 + p d / h times the speed:
the scale that matches differs from row to row of the patch, and pitch and scale can be told apart. Each pair of frames
has its own pitch (the vehicle nods, the road bends), around one that is common to the clip (errors of the mount and of
the recorded path). Both have normal priors and are maximized out (profile likelihood). The likelihood of a pair is that
of Gaussian residuals of unknown variance, (1 - r²)^(-n/2) for n samples with correlation r.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from driveforge.datasets.geometry import Array
from driveforge.validation.point_tracking.protocol import Mask

# Scales at which the road is swept, and the range that is searched: a pitch shifts the matching scale of a row.
STEP = 0.03
SWEPT_LOG_SCALES = STEP * np.arange(-24, 25)
LOG_SCALES = STEP * np.arange(-16, 17)
# Rows that a pitch shifts beyond the sweep keep its last value.
_PADDING = 12
PITCHES = np.radians(np.linspace(-2.4, 2.4, 17))
# Standard deviations: cars pitch by up to a degree, and roads bend by that much over the length of a patch.
PAIR_PITCH, CLIP_PITCH = np.radians(0.6), np.radians(0.6)
# Cells oversample the image, neighbors share the blur, successive pairs see the same road, and light and relief change
# the texture: with this many cells for an independent sample, the regions below hold the true speed of recorded drives.
CELLS_PER_SAMPLE = 128
MAX_CORRELATION = 0.98  # residuals of a better match are still limited by interpolation
# Half the square of a normal deviate of 2: the log likelihood at the border of the confidence region is lower by this.
CONFIDENCE = 2.0
_FINE_LOG_SCALES = np.linspace(LOG_SCALES[0], LOG_SCALES[-1], 1001)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RoadSweep:
    """Sums over the visible cells of every row of a patch, for a pair of frames.

    ``products`` and ``far_squares`` ``(S, R)`` are those of the near times the far texture and of the far texture
    squared, at ``SWEPT_LOG_SCALES``; ``near_square`` is the sum of the near texture squared, and ``num_cells`` counts
    the cells. ``reach`` ``(R,)`` is the distance of a row over the height of the camera.
    """

    products: Array
    far_squares: Array
    near_square: float
    num_cells: int
    reach: Array

    def correlations(self, pitches: Array) -> Array:
        """Correlation ``(S, P)`` of the textures at all ``LOG_SCALES``, for ``pitches`` ``(P,)`` rad of the road."""
        shift = np.log(np.maximum(1.0 + pitches[:, None] * self.reach, 0.2)) / STEP
        margin = _PADDING + (len(SWEPT_LOG_SCALES) - len(LOG_SCALES)) // 2
        start = (margin + shift).clip(0, 2 * margin - 1e-6)
        products, far_squares = (_shift_rows(sums, start) for sums in (self.products, self.far_squares))
        return np.asarray(products / np.sqrt(self.near_square * far_squares + 1e-6))


def _shift_rows(sums: Array, start: Array) -> Array:
    """Totals ``(S, P)`` over the rows of ``sums`` ``(swept scales, R)``, each read from its ``start`` ``(P, R)`` on."""
    padded = np.pad(sums, ((_PADDING, _PADDING + 1), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, len(LOG_SCALES), axis=0)
    below, row = start.astype(int), np.arange(start.shape[1])
    share = start - below
    at, after = windows[below, row], windows[below + 1, row]
    return np.asarray(np.einsum("prs,pr->sp", at, 1 - share) + np.einsum("prs,pr->sp", after, share))


def sweep_road(near: Array, far: Array, seen: Mask, reach: Array) -> RoadSweep:
    """The sums of the near ``(R, C)`` and far ``(S, R, C)`` textures over the ``seen`` ``(R, C)`` cells.

    The mean of each texture over these cells is removed.
    """
    near = np.where(seen, near - near[seen].mean(), 0.0)
    far = np.where(seen, far - far[:, seen].mean(1)[:, None, None], 0.0)
    return RoadSweep(
        products=(near * far).sum(2),
        far_squares=(far**2).sum(2),
        near_square=float((near**2).sum()),
        num_cells=int(seen.sum()),
        reach=reach,
    )


def least_log_scale(sweeps: Sequence[RoadSweep]) -> float:
    """The smallest abs(log s) in the confidence region of the scale: 0 unless the pixels contradict the command."""
    likelihood = _profile(sweeps)
    fine = np.interp(_FINE_LOG_SCALES, LOG_SCALES, likelihood)
    return float(np.abs(_FINE_LOG_SCALES[fine >= likelihood.max() - CONFIDENCE]).min())


def _profile(sweeps: Sequence[RoadSweep]) -> Array:
    """Log likelihood ``(S,)`` of every scale at the best pitches."""
    total = np.tile(-0.5 * (PITCHES / CLIP_PITCH) ** 2, (len(LOG_SCALES), 1))
    around_common = -0.5 * ((PITCHES[:, None] - PITCHES) / PAIR_PITCH) ** 2
    for sweep in sweeps:
        correlation = sweep.correlations(PITCHES).clip(0.0, MAX_CORRELATION)
        of_pair = -0.5 * sweep.num_cells / CELLS_PER_SAMPLE * np.log(1.0 - correlation**2)
        total += (of_pair[:, :, None] + around_common).max(1)
    return np.asarray(total.max(1))
