"""The crops that the artifact network rates: objects in later frames, each with earlier views of the same object.

A crop has three views, which cover the same part of the object's box: the frame that is rated, ``GAP`` frames before
it, and an early frame.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import Array
from driveforge.validation.views.boxes import Boxes
from driveforge.validation.views.view import View

CROP_PX = 48
CHANNELS = 11
CONTEXT = 3
GAP = 2  # frames
MIN_FRAMES = 4
MIN_SIDE_PX, MIN_AREA_SHARE = 8.0, 0.004  # px, share of the image
MIN_VISIBLE_SHARE = 0.4
MAX_OBJECTS, FRAMES_PER_OBJECT = 6, 3
MARGIN_SHARE = 0.08  # of the object's sides: its outline is a part of its looks
MAX_CUT_PX = 8 * CROP_PX
_MAX_LOG_SIZE = 1.5

Window = tuple[int, int, int, int]  # x0, y0, x1, y1 px of the image


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Crop:
    """One crop: its ``image`` and ``context`` for the network, and the frame, window and object that it shows.

    ``image`` ``(CHANNELS, CROP_PX, CROP_PX)`` uint8: RGB of the rated frame, of the frame ``GAP`` before and of the
    early frame, then 255 where the object is visible in the rated frame and where the early view is inside the image.
    ``context`` ``(CONTEXT,)``: 1 for an object, and the logarithms of the sizes of the rated and the early view, in
    crop sides. ``track`` is the index of the object; None, with 0 in the context, is a region of the image.
    """

    image: NDArray[np.uint8]
    context: NDArray[np.float32]
    frame: int
    window: Window
    track: int | None


def object_crops(view: View, boxes: Boxes, members: Sequence[int]) -> list[Crop]:
    """Crops of the largest of the tracks ``members``, in up to ``FRAMES_PER_OBJECT`` later frames of each."""
    in_view = {n: frames for n in members if len(frames := _frames_in_view(view, boxes, n)) >= MIN_FRAMES}
    areas = {n: float(_clipped_area(view, boxes.rectangle[frames, n]).max()) for n, frames in in_view.items()}
    largest = sorted(in_view, key=lambda n: (-areas[n], n))[:MAX_OBJECTS]
    return [crop for n in largest for crop in _crops_of_object(view, boxes, n, in_view[n])]


def _crops_of_object(view: View, boxes: Boxes, track: int, frames: NDArray[np.int64]) -> Iterator[Crop]:
    rectangle = boxes.rectangle[:, track]
    early = frames[: max(len(frames) // 3, 1)]
    start = int(early[np.argmax(_clipped_area(view, rectangle[early]))])
    later = frames[len(frames) // 2 :]
    chosen = later[np.linspace(0, len(later) - 1, FRAMES_PER_OBJECT).round().astype(int)]
    for frame in map(int, np.unique(chosen)):
        visible = _visible_mask(view, boxes, frame, track)
        if visible is None:
            continue
        window = _visible_window(view, rectangle[frame])
        before = int(frames[np.argmin(np.abs(frames - (frame - GAP)))])
        windows = [window, *(_same_part(window, rectangle[frame], rectangle[t]) for t in (before, start))]
        views = [cut_square(view.frames[t], part) for t, part in zip((frame, before, start), windows, strict=True)]
        inside = cut_square(np.full(view.gray.shape[1:], 255, np.uint8), windows[2], outside=0)
        masks = np.stack([cut_square(visible, window), inside], -1)
        yield make_crop([*views, masks], frame, window, windows[2], track)


def _frames_in_view(view: View, boxes: Boxes, track: int) -> NDArray[np.int64]:
    """The frames in which enough of the box is inside the image."""
    rectangle = boxes.rectangle[:, track]
    sides = _clipped_sides(view, rectangle)
    large = (sides.min(-1) >= MIN_SIDE_PX) & (sides.prod(-1) >= MIN_AREA_SHARE * view.gray[0].size)
    return np.flatnonzero(boxes.is_in_image[:, track] & large)


def _clipped_sides(view: View, rectangle: Array) -> Array:
    height, width = view.gray.shape[1:]
    inside = rectangle.clip(0, [width, height, width, height])
    return np.asarray(inside[..., 2:] - inside[..., :2])


def _clipped_area(view: View, rectangle: Array) -> Array:
    return np.asarray(_clipped_sides(view, rectangle).prod(-1))


def _visible_mask(view: View, boxes: Boxes, frame: int, track: int) -> NDArray[np.uint8] | None:
    """255 where the object is visible; None if nearer boxes cover most of it."""
    shape = (view.gray.shape[1], view.gray.shape[2])
    whole, hull = np.zeros(shape, np.uint8), boxes.hulls[frame][track]
    assert hull is not None, "the frames are those in which the box is in view"
    cv2.fillConvexPoly(whole, hull, 255)
    visible = boxes.track_mask(frame, track, shape)
    return visible if (visible > 0).sum() >= MIN_VISIBLE_SHARE * max((whole > 0).sum(), 1) else None


def _visible_window(view: View, rectangle: Array) -> Window:
    """The part of the box inside the image, with a margin."""
    height, width = view.gray.shape[1:]
    inside = rectangle.clip(0, [width, height, width, height])
    margin = MARGIN_SHARE * np.tile(inside[2:] - inside[:2], 2) * [-1, -1, 1, 1]
    x0, y0, x1, y1 = (inside + margin).clip(0, [width, height, width, height]).round().astype(int).tolist()
    return x0, y0, x1, y1


def _same_part(window: Window, of: Array, in_box: Array) -> Window:
    """The part of the box ``in_box`` that ``window`` is of the box ``of``, both x0, y0, x1, y1 px."""
    origin, sides = np.tile(of[:2], 2), np.tile(np.maximum(of[2:] - of[:2], 1.0), 2)
    part = (np.array(window) - origin) / sides
    x0, y0, x1, y1 = (np.tile(in_box[:2], 2) + part * np.tile(in_box[2:] - in_box[:2], 2)).round().astype(int).tolist()
    return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)


def cut_square(image: NDArray[np.uint8], window: Window, outside: int | None = None) -> NDArray[np.uint8]:
    """The window of an image as a square of ``CROP_PX``; beyond the image, its edge or the value ``outside``."""
    height, width = image.shape[:2]
    spans = ((window[0], window[2]), (window[1], window[3]))
    # A box at the near plane can be as wide as many images.
    x, y = (np.linspace(low, high - 1, min(high - low, MAX_CUT_PX)).round().astype(int) for low, high in spans)
    part = image[y.clip(0, height - 1)[:, None], x.clip(0, width - 1)]
    if outside is not None:
        part = np.where(((y >= 0) & (y < height))[:, None] & (x >= 0) & (x < width), part, np.uint8(outside))
    shrinks = min(part.shape[:2]) > CROP_PX
    return np.asarray(
        cv2.resize(part, (CROP_PX, CROP_PX), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    )


def make_crop(
    layers: Sequence[NDArray[np.uint8]], frame: int, window: Window, early_window: Window, track: int | None
) -> Crop:
    """The crop of ``layers`` ``(CROP_PX, CROP_PX, C)``, which are the views and the masks in the order of ``image``."""
    sizes = [np.log(np.sqrt((w[2] - w[0]) * (w[3] - w[1])) / CROP_PX) for w in (window, early_window)]
    context = np.array([track is not None, *np.clip(sizes, -_MAX_LOG_SIZE, _MAX_LOG_SIZE)], np.float32)
    image = np.ascontiguousarray(np.concatenate(layers, -1).transpose(2, 0, 1))
    return Crop(image=image, context=context, frame=frame, window=window, track=track)
