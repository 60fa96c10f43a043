"""Objects drawn wrongly in clean boxes: they grow, become another, or vanish. Edits of the pixels, in every camera."""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import Array
from driveforge.datasets.scene import Clip
from driveforge.validation.corruptions.requirements import share_of_frames
from driveforge.validation.corruptions.visibility import (
    MARGIN_FRAMES,
    MIN_FRAMES_SEEN,
    Mask,
    Sight,
    draw_object,
    sights_of,
    turning_frame,
    well_seen,
)

HALO = 0.12  # of the object's size: the part around its box that its shadow and a loose box leave it
INPAINT_PX = 3
EDGE_PX = 1.0  # standard deviation of soft edges

Image = NDArray[np.uint8]
Redraw = Callable[[Image, Sight, int], Image]


def object_growth(clip: Clip, percent: float, rng: np.random.Generator) -> Clip:
    """An object grows on the spot where it stands, evenly, to ``percent`` more when it is last seen well."""
    sights = sights_of(clip)
    seen = well_seen(sights)
    number = draw_object(clip, seen.sum(0) >= MIN_FRAMES_SEEN, "object", rng)
    first, *_, last = np.flatnonzero(seen[:, number])
    times = clip.scene.timestamps

    def redraw(image: Image, sight: Sight, t: int) -> Image:
        done = float(np.clip((times[t] - times[first]) / (times[last] - times[first]), 0, 1))
        return _magnified(image, sight, t, number, 1 + done * percent / 100)

    return _redrawn(clip, sights, number, int(first), redraw)


def identity_swap(clip: Clip, percent: float, rng: np.random.Generator) -> Clip:
    """From some frame on an object shows another one of the clip, laid over it at an opacity of ``percent``.

    Where no other of its category is seen well it shows its own mirror image, in another paint.
    """
    sights = sights_of(clip)
    seen = well_seen(sights)
    number = draw_object(clip, seen.sum(0) >= MIN_FRAMES_SEEN, "object", rng)
    start = turning_frame(seen[:, number], rng)
    looks = _other_looks(clip, sights, number, start)

    def redraw(image: Image, sight: Sight, t: int) -> Image:
        pasted = _pasted(looks, _rectangle(sight, t, number), sight.shape)
        return _blended(image, pasted, percent / 100 * _soft(sight.outline(t, number), sight.hidden(t, number)))

    return _redrawn(clip, sights, number, start, redraw)


def vanish(clip: Clip, percent: float, rng: np.random.Generator) -> Clip:
    """In the last ``percent`` of the frames what is beside an object has taken its place, though its box goes on."""
    count = share_of_frames(clip, percent)
    sights = sights_of(clip)
    seen = well_seen(sights)
    fits = (seen[:-count].sum(0) >= MARGIN_FRAMES) & (seen[-count:].sum(0) >= min(MARGIN_FRAMES, count))
    number = draw_object(clip, fits, "object", rng)
    start = clip.scene.num_frames - count
    sides = {sight.number: _freer_side_first(sight, number, start) for sight in sights}

    def redraw(image: Image, sight: Sight, t: int) -> Image:
        area = _haloed(sight, t, number)
        filled, rest = image, area
        for side in sides[sight.number]:
            beside, is_free = _beside(image, sight, t, area, side)
            filled = np.where((rest & is_free)[..., None], beside, filled)
            rest = rest & ~is_free
        if rest.any():
            filled = cv2.inpaint(filled, rest.astype(np.uint8), INPAINT_PX, cv2.INPAINT_TELEA)
        return _blended(image, filled, _soft(area, sight.hidden(t, number)))

    return _redrawn(clip, sights, number, start, redraw)


def _redrawn(clip: Clip, sights: list[Sight], number: int, start: int, redraw: Redraw) -> Clip:
    """``clip`` with every image from frame ``start`` on redrawn that a track's box lies in."""
    frames = clip.frames.copy()
    for sight in sights:
        for t in range(start, clip.scene.num_frames):
            if sight.boxes.hulls[t][number] is not None:
                frames[sight.number, t] = redraw(frames[sight.number, t], sight, t)
    return Clip(scene=clip.scene, frames=frames)


def _magnified(image: Image, sight: Sight, t: int, number: int, factor: float) -> Image:
    """What one box shows, magnified about the lowest point of it that is in view; nearer boxes stay before it."""
    height, width = sight.shape
    x0, _, x1, y1 = np.clip(_rectangle(sight, t, number), 0, [width - 1, height - 1] * 2)
    zoom = np.array([[factor, 0, (1 - factor) * (x0 + x1) / 2], [0, factor, (1 - factor) * y1]])
    size = (width, height)
    magnified = cv2.warpAffine(image, zoom, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    area = cv2.warpAffine(sight.outline(t, number).astype(np.uint8), zoom, size) > 0
    return _blended(image, magnified, _soft(area, sight.hidden(t, number)))


def _other_looks(clip: Clip, sights: list[Sight], number: int, start: int) -> Image:
    """The largest view of another track of the same kind, or of the track itself before ``start``, in other paint."""
    tracks = clip.scene.tracks
    kind = tracks[number].category.split(".")[0]
    others = [i for i, track in enumerate(tracks) if i != number and track.category.split(".")[0] == kind]
    best = _largest_view(clip, sights, others, clip.scene.num_frames)
    if best is not None:
        return best
    own = _largest_view(clip, sights, [number], start)
    assert own is not None, "an object is drawn only where it is well seen before that frame"
    return _repainted(own)


def _repainted(looks: Image) -> Image:
    """The mirror image with colours exchanged, and dark paint made light or light paint dark."""
    gamma = 0.45 if looks.mean() < 128 else 2.2
    mirrored = looks[:, ::-1, [1, 2, 0]].astype(np.float64) / 255
    return np.asarray(np.round(255 * mirrored**gamma), np.uint8)


def _largest_view(clip: Clip, sights: list[Sight], tracks: list[int], end: int) -> Image | None:
    """The part of an image that one of ``tracks`` fills where it is seen largest before frame ``end``, if any is."""
    found = [
        (float(sight.boxes.size[t, i]), sight, t, i)
        for sight in sights
        for i in tracks
        for t in np.flatnonzero(sight.boxes.judged[:end, i])
    ]
    if not found:
        return None
    _, sight, t, i = max(found, key=lambda item: item[0])
    height, width = sight.shape
    x0, y0, x1, y1 = np.clip(np.round(_rectangle(sight, t, i)), 0, [width, height, width, height]).astype(int)
    return np.asarray(clip.frames[sight.number, t, y0 : y1 + 1, x0 : x1 + 1])


def _pasted(looks: Image, rectangle: Array, shape: tuple[int, int]) -> Image:
    """An image of ``shape`` in which ``looks`` fills the ``rectangle`` x0, y0, x1, y1; softened where it shrinks."""
    x0, y0, x1, y1 = rectangle
    across, down = max(x1 - x0, 1.0) / looks.shape[1], max(y1 - y0, 1.0) / looks.shape[0]
    sigmas = [max(0.5 * (1 / scale - 1), 1e-6) for scale in (across, down)]
    looks = cv2.GaussianBlur(looks, (0, 0), sigmaX=sigmas[0], sigmaY=sigmas[1])
    placed = np.array([[across, 0, x0 + across / 2 - 0.5], [0, down, y0 + down / 2 - 0.5]])
    return np.asarray(cv2.warpAffine(looks, placed, shape[::-1], borderMode=cv2.BORDER_REPLICATE))


def _rectangle(sight: Sight, t: int, number: int) -> Array:
    """x0, y0, x1, y1 px of a box, exact where it is wholly before the camera, else of the part that is."""
    hull = sight.boxes.hulls[t][number]
    if sight.boxes.judged[t, number] or hull is None:
        return np.asarray(sight.boxes.rectangle[t, number])
    return np.concatenate([hull.min((0, 1)), hull.max((0, 1))], dtype=np.float64)


def _haloed(sight: Sight, t: int, number: int) -> Mask:
    """Where a box is seen, and a little around it."""
    reach = 1 + round(HALO * float(sight.boxes.size[t, number]))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    area = cv2.dilate(sight.outline(t, number).astype(np.uint8), kernel) > 0
    return np.asarray(area & ~sight.hidden(t, number))


def _freer_side_first(sight: Sight, number: int, start: int) -> tuple[int, int]:
    """1 and -1, first the side from which more can take a track's place: 1 for its left, -1 for its right."""
    free = {1: 0, -1: 0}
    nothing = np.zeros((*sight.shape, 3), np.uint8)
    for t in range(start, sight.view.num_frames):
        if sight.boxes.hulls[t][number] is not None:
            area = _haloed(sight, t, number)
            for side in free:
                free[side] += int((area & _beside(nothing, sight, t, area, side)[1]).sum())
    return (1, -1) if free[1] >= free[-1] else (-1, 1)


def _beside(image: Image, sight: Sight, t: int, area: Mask, side: int) -> tuple[Image, Mask]:
    """``image`` moved sideways by the width of ``area``, and where no box and no edge came along with it.

    Rows stay, so that ground takes the place of ground that is as far away.
    """
    columns = np.flatnonzero(area.any(0))
    shift = side * (int(columns[-1] - columns[0]) + 1 if len(columns) else 0)
    move, size = np.array([[1.0, 0, shift], [0, 1.0, 0]]), sight.shape[::-1]
    free = ((sight.boxes.mask(t, sight.shape) == 0) & ~area).astype(np.uint8)
    return cv2.warpAffine(image, move, size), cv2.warpAffine(free, move, size) > 0


def _soft(area: Mask, hidden: Mask) -> Array:
    """``area`` as an opacity ``(H, W)`` with soft edges, but for what is ``hidden`` behind something nearer."""
    return np.asarray(np.where(hidden, 0.0, cv2.GaussianBlur(area.astype(np.float64), (0, 0), EDGE_PX)))


def _blended(below: Image, above: Image, opacity: Array) -> Image:
    mixed = below * (1.0 - opacity[..., None]) + above * opacity[..., None]
    return np.clip(np.round(mixed), 0, 255).astype(np.uint8)
