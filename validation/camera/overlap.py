"""Measures of two overlapping cameras: their common content must match where calibration and poses place it.

Patches of the overlap are sampled along the rays of a virtual camera midway between the two, so that both cameras see
them under similar distortion. The match of a patch is on a short epipolar segment in the other camera, at one place
for every depth: a plane sweep (Collins, "A space-sweep approach to true multi-image matching", CVPR 1996) takes the
best zero-mean normalized cross-correlation (ZNCC) of each textured patch along the segment and, as a control, off it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import Array, inverse, project, transform
from driveforge.validation.measure_tables.cameras import NO_OVERLAP, ONE_CAMERA
from driveforge.validation.records import (
    NO_OVERLAP_TEXTURE,
    STATIONARY_EGO,
    Measure,
    Sample,
    make_measure,
    make_unmeasurable,
    worst_measure,
)
from driveforge.validation.views.pixels import blur_scale
from driveforge.validation.views.view import CommandedCamera, View

MEASURE_NAMES = ("camera_unmatched", "camera_chance", "camera_depth")
NEAREST_M, FARTHEST_M, NUM_DEPTHS = 5.0, 200.0, 24
NUM_FRAMES = 4  # of a clip that are compared
PATCH_SIDE = 5  # points of a patch, each way
MIN_VISIBLE_SHARE = 0.5  # of the swept depths at which a patch must be inside the other image
NOT_VISIBLE = -2.0  # below any ZNCC: the patch is not in the other image
MIN_BASELINE_M = 0.4  # of a camera's own motion, to estimate depth
MIN_MATCH_ZNCC = 0.6  # of patches that match
MIN_CONTRAST = 4.0  # gray levels, standard deviation of a patch
MAX_PATCHES, MIN_VISIBLE = 250, 20  # in a frame, textured or not
MIN_PATCHES = 40  # in all frames together
CONTROL_OFFSET_SHARE = 0.12  # of the image rows: distance of the control from the epipolar segment
GRID_PX = 8  # spacing of the points that sample the overlap
MIN_AHEAD = 0.2  # cosine to the virtual camera's axis

Image = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Overlap:
    """The overlap of views ``a`` and ``b``, divided into patches.

    ``patches`` ``(N, SIDE², 3)`` are rays of the virtual camera; ``axes`` ``(3, 3)`` rotates them into camera a.
    """

    a: View
    b: View
    a_command: CommandedCamera
    b_command: CommandedCamera
    axes: Array
    patches: Array

    @property
    def name(self) -> str:
        return f"{self.a.camera}+{self.b.camera}"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PatchMatches:
    """ZNCC between two cameras of the textured patches of one frame.

    The best ``on_line`` ``(N,)`` and ``off_line`` ``(2, N)``, and ``at_depth`` ``(M,)``: at the depth estimated from
    the motion of the first camera, for patches with an estimate.
    """

    frame: int
    on_line: Image
    off_line: Image
    at_depth: Image


def overlap_measures(views: Sequence[View]) -> list[Measure]:
    """Disagreement of overlapping cameras: the worst pair, then every pair under its own name.

    ``camera_unmatched``: share of textured patches whose best ZNCC on their line is below ``MIN_MATCH_ZNCC``.
    ``camera_chance``: share of patches that match off their line at least as well as on it, 0.5 for unrelated images.
    ``camera_depth``: share of patches that do not match at the depth estimated from the motion of their own camera.
    """
    calibrated = [view for view in views if view.command]
    if len(calibrated) < 2:
        return [make_unmeasurable(name, ONE_CAMERA if calibrated else views[0].reason) for name in MEASURE_NAMES]
    overlaps = [overlap for pair in combinations(calibrated, 2) if (overlap := find_overlap(*pair))]
    pairs = [(overlap.name, overlap_pair_measures(overlap)) for overlap in overlaps]
    worst_pairs = [_worst_pair(name, [measures[i] for _, measures in pairs]) for i, name in enumerate(MEASURE_NAMES)]
    return [*worst_pairs, *(replace(m, name=f"{pair}/{m.name}") for pair, measures in pairs for m in measures)]


def _worst_pair(name: str, measures: Sequence[Measure]) -> Measure:
    taken = [Sample(value=m.value, frames=m.frames) for m in measures if m.value is not None]
    return worst_measure(name, taken, measures[0].reason if measures else NO_OVERLAP)


def overlap_pair_measures(overlap: Overlap) -> list[Measure]:
    """The measures of one pair of cameras, over ``NUM_FRAMES`` frames of the clip."""
    frames = np.unique(np.linspace(0, overlap.a.num_frames - 1, NUM_FRAMES).round().astype(int))
    matches = [match_patches(overlap, int(frame)) for frame in frames]
    centers = overlap.a_command.camera_to_world[:, :3, 3]
    is_stationary = np.ptp(centers, axis=0).max() < MIN_BASELINE_M
    unmatched = [(m.frame, m.on_line < MIN_MATCH_ZNCC) for m in matches]
    # Per patch the mean over both controls, one on either side of the line.
    chance = [(m.frame, (m.off_line >= m.on_line).mean(0)) for m in matches]
    wrong_depth = [(m.frame, m.at_depth < MIN_MATCH_ZNCC) for m in matches]
    return [
        _share_measure("camera_unmatched", unmatched, NO_OVERLAP_TEXTURE),
        _share_measure("camera_chance", chance, NO_OVERLAP_TEXTURE),
        _share_measure("camera_depth", wrong_depth, STATIONARY_EGO if is_stationary else NO_OVERLAP_TEXTURE),
    ]


def _share_measure(name: str, values_by_frame: Sequence[tuple[int, NDArray[Any]]], reason: str) -> Measure:
    """Mean over the patches of all frames, with the worst frame; unmeasurable for ``reason`` if there are too few."""
    patches = np.concatenate([values for _, values in values_by_frame]).astype(np.float64)
    if len(patches) < MIN_PATCHES:
        return make_unmeasurable(name, reason)
    _, worst_frame = max((float(np.mean(values)), frame) for frame, values in values_by_frame if len(values))
    return make_measure(name, float(patches.mean()), [worst_frame])


def find_overlap(a: View, b: View) -> Overlap | None:
    """The overlap of two views in their first frame; None if it is too small.

    The patches form a grid over the bounding box of the overlap on the virtual image plane.
    """
    if a.command is None or b.command is None:
        return None
    a_to_b = _a_to_b(a.command, b.command, 0)
    axes = _virtual_axes(a_to_b[:3, :3])
    common = _common_rays(a.command, b.command, a_to_b) @ axes
    common = common[common[:, 2] > MIN_AHEAD]
    if not len(common):
        return None
    focal, step = min(a.command.intrinsics[0, 0], b.command.intrinsics[0, 0]), _sample_spacing(a)
    pixels = common[:, :2] / common[:, 2:] * focal
    low, high = pixels.min(0), pixels.max(0)
    # The first bound limits the overlap of neighboring patches, the second their number. The third limits the number in
    # narrow strips, where the square root of the area is much smaller than the length.
    area, longest = float(np.prod(high - low)), float((high - low).max())
    spacing = max(step * (PATCH_SIDE // 2 + 1), float(np.sqrt(area / MAX_PATCHES)), longest / MAX_PATCHES)
    x, y = np.meshgrid(*(np.arange(*ends, spacing) for ends in zip(low, high, strict=True)))
    offsets = step * (np.arange(PATCH_SIDE) - PATCH_SIDE // 2)
    across, down = np.meshgrid(offsets, offsets)
    points = np.stack([x.ravel()[:, None] + across.ravel(), y.ravel()[:, None] + down.ravel()], -1) / focal
    patches = np.concatenate([points, np.ones((*points.shape[:-1], 1))], -1)
    overlap = Overlap(a=a, b=b, a_command=a.command, b_command=b.command, axes=axes, patches=patches)
    return overlap if _num_visible(overlap, a_to_b) >= MIN_VISIBLE else None


def _num_visible(overlap: Overlap, a_to_b: Array) -> int:
    """Number of patches inside image a and, at enough depths, in image b, textured or not."""
    blank = np.zeros(overlap.a.gray.shape[1:], np.float32)
    patches, whole = _cut_patches(overlap, blank)
    scores = _plane_sweep(patches, overlap.patches @ overlap.axes.T, blank, a_to_b, overlap.b_command)
    return int((whole & ((scores > NOT_VISIBLE).mean(0) >= MIN_VISIBLE_SHARE)).sum())


def match_patches(overlap: Overlap, frame: int) -> PatchMatches:
    """Match the textured patches of a frame of view a in view b, and in another frame of view a."""
    a, b = overlap.a_command, overlap.b_command
    patches, whole = _cut_patches(overlap, _blur_frame(overlap.a, frame))
    textured = whole & (patches.std(-1) >= MIN_CONTRAST)
    patches, rays = patches[textured], overlap.patches[textured]
    a_to_b = _a_to_b(a, b, frame)
    image_b = _blur_frame(overlap.b, frame)
    on_line, *off_line = (
        _plane_sweep(patches, (rays + shift) @ overlap.axes.T, image_b, a_to_b, b)
        for shift in _ray_shifts(overlap, a_to_b)
    )
    usable = np.all([(scores > NOT_VISIBLE).mean(0) >= MIN_VISIBLE_SHARE for scores in (on_line, *off_line)], 0)
    return PatchMatches(
        frame=frame,
        on_line=on_line.max(0)[usable],
        off_line=np.stack([scores.max(0)[usable] for scores in off_line]),
        at_depth=_zncc_at_motion_depth(overlap, frame, patches, rays, on_line),
    )


def _cut_patches(overlap: Overlap, image: Image) -> tuple[Image, NDArray[np.bool_]]:
    """Gray levels ``(N, P)`` of the patches in image a, and which patches ``(N,)`` are inside it."""
    pixels = overlap.patches @ (overlap.a_command.intrinsics @ overlap.axes).T
    return _sample_image(image, *np.moveaxis(pixels.astype(np.float32), -1, 0))


def _zncc_at_motion_depth(overlap: Overlap, frame: int, patches: Image, rays: Array, on_line: Image) -> Image:
    """The entries ``(M,)`` of ``on_line`` ``(D, N)`` at the depths estimated from the camera's own motion.

    A second sweep matches the patches in the nearest frame of the same camera with a sufficient baseline.
    """
    a = overlap.a_command
    places = a.camera_to_world[:, :3, 3]
    moved = np.linalg.norm(places - places[frame], axis=1)
    reachable = np.flatnonzero(moved >= MIN_BASELINE_M)
    if not len(reachable):
        return np.zeros(0, np.float32)
    other = int(reachable[np.argmin(np.abs(reachable - frame))])
    a_to_own = inverse(a.camera_to_world[other]) @ a.camera_to_world[frame]
    own = _plane_sweep(patches, rays @ overlap.axes.T, _blur_frame(overlap.a, other), a_to_own, a)
    depth, is_match = own.argmax(0), own.max(0) >= MIN_MATCH_ZNCC
    # The depth is known to one sweep step, so its two neighbors count as well: (3, N).
    around = np.stack([on_line[np.clip(depth + k, 0, NUM_DEPTHS - 1), np.arange(on_line.shape[1])] for k in (-1, 0, 1)])
    return np.asarray(around.max(0)[is_match & (around > NOT_VISIBLE).all(0)])


def _plane_sweep(patches: Image, rays: Array, image: Image, a_to_other: Array, other: CommandedCamera) -> Image:
    """ZNCC ``(NUM_DEPTHS, N)`` of ``patches`` ``(N, P)`` with ``image``, ``NOT_VISIBLE`` outside of it.

    A point at inverse depth w on the ray r of camera a projects to R r + w t in the other camera: it is at r / w, and
    projection does not depend on the factor w. ``rays`` are ``(N, P, 3)``.
    """
    # K R r is the image of the ray at infinity, and K t the direction in which the point moves as it comes closer.
    far = (rays @ (other.intrinsics @ a_to_other[:3, :3]).T).astype(np.float32)
    towards = (other.intrinsics @ a_to_other[:3, 3]).astype(np.float32)
    inverse_depths = np.linspace(1 / FARTHEST_M, 1 / NEAREST_M, NUM_DEPTHS, dtype=np.float32)[:, None, None]
    x, y, z = (far[..., k] + inverse_depths * towards[k] for k in range(3))
    candidates, seen = _sample_image(image, x, y, z)
    return np.where(seen, _zncc(patches, candidates), np.float32(NOT_VISIBLE))


def _a_to_b(a: CommandedCamera, b: CommandedCamera, frame: int) -> Array:
    """Transform ``(4, 4)`` from camera ``a`` to camera ``b`` in one frame, each with its own pose."""
    return np.asarray(inverse(b.camera_to_world[frame]) @ a.camera_to_world[frame])


def _virtual_axes(rotation: Array) -> Array:
    """Axes ``(3, 3)``, in columns, of a camera midway between two; ``rotation`` takes rays of a to b.

    The sum of the axes of both cameras, in camera a, orthonormalized with z first.
    """
    between = np.eye(3) + rotation.T
    z = between[:, 2] / max(float(np.linalg.norm(between[:, 2])), 1e-9)
    x = np.cross(between[:, 1], z)
    x /= max(float(np.linalg.norm(x)), 1e-9)
    return np.stack([x, np.cross(z, x), z], 1)


def _common_rays(a: CommandedCamera, b: CommandedCamera, a_to_b: Array) -> Array:
    """Rays ``(N, 3)`` of a coarse grid on image ``a`` whose nearest or farthest point is inside image ``b``."""
    x, y = np.meshgrid(*(np.arange(0, side, GRID_PX, dtype=np.float64) for side in a.image_size))
    rays = a.directions(np.stack([x, y], -1).reshape(-1, 2))
    depths = np.array([NEAREST_M, FARTHEST_M])[:, None, None]
    pixels, depth = project(transform(a_to_b, rays * depths), b.intrinsics)
    seen = (depth > 0) & ((pixels >= 0) & (pixels <= np.array(b.image_size) - 1)).all(-1)
    return np.asarray(rays[seen.any(0)])


def _ray_shifts(overlap: Overlap, a_to_b: Array) -> Array:
    """Shifts ``(3, 3)`` of the rays: none, and one to either side of the baseline.

    On the virtual image plane the epipolar lines are nearly parallel to the baseline, so a shift across it leads off
    them.
    """
    baseline = overlap.axes.T @ inverse(a_to_b)[:3, 3]
    across = np.array([-baseline[1], baseline[0], 0.0]) / max(float(np.hypot(*baseline[:2])), 1e-9)
    aside = CONTROL_OFFSET_SHARE * overlap.a_command.image_size[1] / overlap.a_command.intrinsics[0, 0] * across
    return np.stack([0 * aside, aside, -aside])


def _sample_image(image: Image, x: Image, y: Image, z: Image) -> tuple[Image, NDArray[np.bool_]]:
    """Gray levels ``(..., P)`` at homogeneous pixels ``(..., P)``, and ``(...)`` whether all ``P`` are in the image."""
    ahead = z > 1e-6
    depth = np.where(ahead, z, np.float32(1.0))
    u, v = x / depth, y / depth
    inside = ahead & (u >= 0) & (u <= image.shape[1] - 1) & (v >= 0) & (v <= image.shape[0] - 1)
    if not inside.size:
        return np.zeros(inside.shape, np.float32), inside.all(-1)
    rows = (-1, inside.shape[-1])
    return cv2.remap(image, u.reshape(rows), v.reshape(rows), cv2.INTER_LINEAR).reshape(inside.shape), inside.all(-1)


def _zncc(a: Image, b: Image) -> Image:
    """ZNCC of patches ``(N, P)`` with patches ``(..., N, P)``, over the last axis."""
    a, b = a - a.mean(-1, keepdims=True), b - b.mean(-1, keepdims=True)
    norm = np.sqrt((a * a).sum(-1) * np.einsum("...p,...p->...", b, b))
    return np.asarray(np.einsum("np,...np->...n", a, b) / (norm + 1.0))  # + 1: flat patches get 0, not noise


def _sample_spacing(view: View) -> float:
    """Pixels between the points of a patch, the scale of the blur: denser points would be redundant."""
    return max(1.0, blur_scale(*view.gray.shape[1:]))


def _blur_frame(view: View, frame: int) -> Image:
    return np.asarray(cv2.GaussianBlur(view.gray[frame], (0, 0), 0.8 * _sample_spacing(view)), np.float32)
