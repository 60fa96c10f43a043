"""Corruptions of the pixels of one object in correct boxes, in every camera: it grows, is replaced, or vanishes."""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import Array
from driveforge.datasets.scene import Clip
from driveforge.validation.corruptions.requirements import percent_to_frames
from driveforge.validation.corruptions.visibility import (
    MARGIN_FRAMES,
    MIN_VISIBLE_FRAMES,
    BoxVisibility,
    Mask,
    ObjectPlace,
    box_visibilities,
    candidates_at,
    sample_event_frame,
    sample_object,
    well_visible,
)

HALO_SHARE = 0.12  # of the object's size: the margin around its box for its shadow and inexact boxes
INPAINT_PX = 3
EDGE_PX = 1.0  # standard deviation of soft edges

Image = NDArray[np.uint8]
Redraw = Callable[[Image, BoxVisibility, int], Image]


def object_growth(clip: Clip, percent: float, rng: np.random.Generator) -> Clip:
    """An object grows linearly in place, by ``percent`` until the last frame in which it is well visible."""
    visibilities = box_visibilities(clip)
    visible = well_visible(visibilities)
    track_index = sample_object(clip, visible.sum(0) >= MIN_VISIBLE_FRAMES, "object", rng)
    first, *_, last = np.flatnonzero(visible[:, track_index])
    times = clip.scene.timestamps

    def redraw(image: Image, visibility: BoxVisibility, t: int) -> Image:
        done = float(np.clip((times[t] - times[first]) / (times[last] - times[first]), 0, 1))
        return _magnify(image, visibility, t, track_index, 1 + done * percent / 100)

    return redraw_frames(clip, visibilities, track_index, int(first), redraw)


def identity_swap(clip: Clip, percent: float, rng: np.random.Generator, place: ObjectPlace) -> Clip:
    """From some frame on another object of the clip is blended over an object with an opacity of ``percent``.

    If no other object of its category is well visible, its own mirror image in another color is used.
    """
    visibilities = box_visibilities(clip)
    visible = candidates_at(visibilities, place)
    track_index = sample_object(clip, visible.sum(0) >= MIN_VISIBLE_FRAMES, "object", rng)
    start = sample_event_frame(visible[:, track_index], rng)
    donor = _donor_patch(clip, visibilities, track_index, start)

    def redraw(image: Image, visibility: BoxVisibility, t: int) -> Image:
        pasted = _paste(donor, _rectangle(visibility, t, track_index), visibility.shape)
        mask = soft_mask(visibility.visible_mask(t, track_index), visibility.occluded_mask(t, track_index))
        return blend(image, pasted, percent / 100 * mask)

    return redraw_frames(clip, visibilities, track_index, start, redraw)


def vanish(clip: Clip, percent: float, rng: np.random.Generator, place: ObjectPlace) -> Clip:
    """In the last ``percent`` of the frames an object is filled with its surroundings, while its box stays."""
    count = percent_to_frames(clip, percent)
    visibilities = box_visibilities(clip)
    visible = candidates_at(visibilities, place)
    candidates = (visible[:-count].sum(0) >= MARGIN_FRAMES) & (visible[-count:].sum(0) >= min(MARGIN_FRAMES, count))
    track_index = sample_object(clip, candidates, "object", rng)
    start = clip.scene.num_frames - count
    sides_by_camera = {
        visibility.camera_index: _order_sides(visibility, track_index, start) for visibility in visibilities
    }

    def redraw(image: Image, visibility: BoxVisibility, t: int) -> Image:
        area = _dilated_mask(visibility, t, track_index)
        filled, rest = image, area
        for side in sides_by_camera[visibility.camera_index]:
            shifted, is_free = _shift_sideways(image, visibility, t, area, side)
            filled = np.where((rest & is_free)[..., None], shifted, filled)
            rest = rest & ~is_free
        if rest.any():
            filled = cv2.inpaint(filled, rest.astype(np.uint8), INPAINT_PX, cv2.INPAINT_TELEA)
        return blend(image, filled, soft_mask(area, visibility.occluded_mask(t, track_index)))

    return redraw_frames(clip, visibilities, track_index, start, redraw)


def redraw_frames(clip: Clip, visibilities: list[BoxVisibility], track_index: int, start: int, redraw: Redraw) -> Clip:
    """``clip`` with every image from frame ``start`` on that contains a track's box redrawn."""
    frames = clip.frames.copy()
    for visibility in visibilities:
        for t in range(start, clip.scene.num_frames):
            if visibility.boxes.hulls[t][track_index] is not None:
                frames[visibility.camera_index, t] = redraw(frames[visibility.camera_index, t], visibility, t)
    return Clip(scene=clip.scene, frames=frames)


def _magnify(image: Image, visibility: BoxVisibility, t: int, track_index: int, factor: float) -> Image:
    """The content of one box magnified about the bottom center of its visible part, behind nearer boxes."""
    height, width = visibility.shape
    x0, _, x1, y1 = np.clip(_rectangle(visibility, t, track_index), 0, [width - 1, height - 1] * 2)
    zoom = np.array([[factor, 0, (1 - factor) * (x0 + x1) / 2], [0, factor, (1 - factor) * y1]])
    size = (width, height)
    magnified = cv2.warpAffine(image, zoom, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    area = cv2.warpAffine(visibility.visible_mask(t, track_index).astype(np.uint8), zoom, size) > 0
    return blend(image, magnified, soft_mask(area, visibility.occluded_mask(t, track_index)))


def _donor_patch(clip: Clip, visibilities: list[BoxVisibility], track_index: int, start: int) -> Image:
    """The largest view of another track of the same category, or of the track before ``start`` in another color."""
    tracks = clip.scene.tracks
    category = tracks[track_index].category.split(".")[0]
    others = [i for i, track in enumerate(tracks) if i != track_index and track.category.split(".")[0] == category]
    best = _largest_view(clip, visibilities, others, clip.scene.num_frames)
    if best is not None:
        return best
    own = _largest_view(clip, visibilities, [track_index], start)
    assert own is not None, "an object is sampled only if it is well visible before that frame"
    return _recolor(own)


def _recolor(donor: Image) -> Image:
    """The mirror image with permuted color channels and inverted brightness (by gamma)."""
    gamma = 0.45 if donor.mean() < 128 else 2.2
    mirrored = donor[:, ::-1, [1, 2, 0]].astype(np.float64) / 255
    return np.asarray(np.round(255 * mirrored**gamma), np.uint8)


def _largest_view(clip: Clip, visibilities: list[BoxVisibility], tracks: list[int], end: int) -> Image | None:
    """The crop of the largest view of any of ``tracks`` before frame ``end``; None if there is none."""
    views = [
        (float(visibility.boxes.size[t, i]), visibility, t, i)
        for visibility in visibilities
        for i in tracks
        for t in np.flatnonzero(visibility.boxes.judged[:end, i])
    ]
    if not views:
        return None
    _, visibility, t, i = max(views, key=lambda item: item[0])
    height, width = visibility.shape
    x0, y0, x1, y1 = np.clip(np.round(_rectangle(visibility, t, i)), 0, [width, height, width, height]).astype(int)
    return np.asarray(clip.frames[visibility.camera_index, t, y0 : y1 + 1, x0 : x1 + 1])


def _paste(donor: Image, rectangle: Array, shape: tuple[int, int]) -> Image:
    """An image of ``shape`` in which ``donor`` fills the ``rectangle`` x0, y0, x1, y1; blurred before it shrinks."""
    x0, y0, x1, y1 = rectangle
    across, down = max(x1 - x0, 1.0) / donor.shape[1], max(y1 - y0, 1.0) / donor.shape[0]
    sigmas = [max(0.5 * (1 / scale - 1), 1e-6) for scale in (across, down)]
    donor = cv2.GaussianBlur(donor, (0, 0), sigmaX=sigmas[0], sigmaY=sigmas[1])
    placed = np.array([[across, 0, x0 + across / 2 - 0.5], [0, down, y0 + down / 2 - 0.5]])
    return np.asarray(cv2.warpAffine(donor, placed, shape[::-1], borderMode=cv2.BORDER_REPLICATE))


def _rectangle(visibility: BoxVisibility, t: int, track_index: int) -> Array:
    """x0, y0, x1, y1 px of a box, exact if it is sufficiently visible, else of its part in front of the camera."""
    hull = visibility.boxes.hulls[t][track_index]
    if visibility.boxes.judged[t, track_index] or hull is None:
        return np.asarray(visibility.boxes.rectangle[t, track_index])
    return np.concatenate([hull.min((0, 1)), hull.max((0, 1))], dtype=np.float64)


def _dilated_mask(visibility: BoxVisibility, t: int, track_index: int) -> Mask:
    """The visible part of a box with a margin around it."""
    reach = 1 + round(HALO_SHARE * float(visibility.boxes.size[t, track_index]))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    area = cv2.dilate(visibility.visible_mask(t, track_index).astype(np.uint8), kernel) > 0
    return np.asarray(area & ~visibility.occluded_mask(t, track_index))


def _order_sides(visibility: BoxVisibility, track_index: int, start: int) -> tuple[int, int]:
    """1 (left) and -1 (right), first the side whose background covers more of a track."""
    free = {1: 0, -1: 0}
    nothing = np.zeros((*visibility.shape, 3), np.uint8)
    for t in range(start, visibility.view.num_frames):
        if visibility.boxes.hulls[t][track_index] is not None:
            area = _dilated_mask(visibility, t, track_index)
            for side in free:
                free[side] += int((area & _shift_sideways(nothing, visibility, t, area, side)[1]).sum())
    return (1, -1) if free[1] >= free[-1] else (-1, 1)


def _shift_sideways(image: Image, visibility: BoxVisibility, t: int, area: Mask, side: int) -> tuple[Image, Mask]:
    """``image`` shifted sideways by the width of ``area``, and the mask of shifted pixels that are background.

    Rows stay in place, so that ground is replaced by ground at the same distance.
    """
    columns = np.flatnonzero(area.any(0))
    shift = side * (int(columns[-1] - columns[0]) + 1 if len(columns) else 0)
    move, size = np.array([[1.0, 0, shift], [0, 1.0, 0]]), visibility.shape[::-1]
    free = ((visibility.boxes.mask(t, visibility.shape) == 0) & ~area).astype(np.uint8)
    return cv2.warpAffine(image, move, size), cv2.warpAffine(free, move, size) > 0


def soft_mask(area: Mask, occluded_mask: Mask) -> Array:
    """``area`` as an opacity ``(H, W)`` with soft edges, 0 in the ``occluded_mask``."""
    return np.asarray(np.where(occluded_mask, 0.0, cv2.GaussianBlur(area.astype(np.float64), (0, 0), EDGE_PX)))


def blend(below: Image, above: Image, opacity: Array) -> Image:
    mixed = below * (1.0 - opacity[..., None]) + above * opacity[..., None]
    return np.clip(np.round(mixed), 0, 255).astype(np.uint8)
