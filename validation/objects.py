"""Each object against its commanded box.

Points seeded on the object are lifted onto the box, move with it, and are compared with where their tracks went.
Residuals are image minus command, px of the image unless told otherwise.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from datasets.geometry import Array, inverse, project, transform
from validation.boxes import Boxes
from validation.records import NO_BOXES, SMALL_BOXES, TOO_FEW_TRACKS, Measure, Sample, worst
from validation.tracks import OBJECT_STRIDE, Mask, Points, Tracks, Window
from validation.view import Command, View

TOO_FEW_ON_OBJECTS = f"{TOO_FEW_TRACKS} on objects"
MIN_POINTS = 6
MIN_WINDOWS = 3
# A box of this size has to show something that can be followed; a smaller one may be too small for it.
LARGE_PX = 32.0  # reference px
MAX_MOTION_SHARE = 0.12  # of the image width: beyond, Lucas-Kanade itself is in doubt
MAX_SIZE_CHANGE = 1.3
# A box is never exact: this much residual is nobody's fault.
TOLERANCE_PX, TOLERANCE_SHARE = 0.5, 0.04  # reference px, share of the box's size
# A point supports its box when it moves with it within this.
SUPPORT_PX, SUPPORT_SHARE = 0.8, 0.1


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Sighting:
    """One object over one window, frames ``first`` to ``last``; ``size`` is its box's, px.

    ``support`` is the share of its points, of ``MIN_POINTS`` at least, that are followed to the next frame
    and move with the box for as long as they are followed. ``offset`` ``(2,)`` px is the median residual at ``last``
    and ``growth`` the log of how much more the object grew than its box; None with too few points.
    """

    first: int
    last: int
    size: float
    support: float
    offset: Array | None
    growth: float | None

    @property
    def frames(self) -> tuple[int, int]:
        return self.first, self.last


def sightings(view: View, boxes: Boxes, tracks: Tracks) -> dict[int, list[Sighting]]:
    """Sightings of every object that can be judged, by the index of its track, in time order."""
    seen: dict[int, list[Sighting]] = defaultdict(list)
    if view.command is None:
        return seen
    for window in tracks.objects:
        for owner in np.flatnonzero(boxes.judged[window.start] & boxes.judged[window.start + 1]):
            sighting = _sight(view, view.command, boxes, window, int(owner))
            if sighting:
                seen[int(owner)].append(sighting)
    return seen


def object_measures(view: View, boxes: Boxes | None, tracks: Tracks) -> list[Measure]:
    """The worst object of each measure, with its id."""
    found = sightings(view, boxes, tracks) if boxes else {}
    seen = {view.tracks[owner].id: s for owner, s in found.items() if len(s) >= MIN_WINDOWS}
    why = view.why or _why_unseen(boxes, LARGE_PX / view.scale)
    pixel = 1.0 / view.scale

    def of_objects(name: str, sample: Callable[[list[Sighting]], Sample | None]) -> Measure:
        samples = [(track, sample(s)) for track, s in seen.items()]
        return worst(name, [Sample(value=s.value, frames=s.frames, track=k) for k, s in samples if s], why)

    return [
        of_objects("object_residual", lambda s: _residual(s, pixel)),
        of_objects("object_jump", lambda s: _jump(s, pixel)),
        of_objects("object_drift", lambda s: _drift(s, view.command)),
        of_objects("object_scale", lambda s: _scale(s, pixel)),
        of_objects("object_unsupported", _unsupported),
    ]


def _sight(view: View, command: Command, boxes: Boxes, window: Window, owner: int) -> Sighting | None:
    on_object = np.flatnonzero(window.owner == owner)
    predicted, hit = _carried_by_box(view, command, window, on_object, owner)
    size = float(boxes.size[window.start, owner])
    if hit.sum() < MIN_POINTS and size < LARGE_PX / view.scale:
        return None
    points, alive, predicted = window.points[:, on_object[hit]], window.alive[:, on_object[hit]], predicted[:, hit]
    gap = _gap(view, boxes, window, owner)
    if gap == 0:
        return None
    residual, kept = points - predicted, alive[gap]
    last = alive[: gap + 1].sum(0) - 1
    strays = np.linalg.norm(residual[last, np.arange(len(last))], axis=1)
    near = strays < max(SUPPORT_PX / view.scale, SUPPORT_SHARE * size)
    enough = kept.sum() >= MIN_POINTS
    return Sighting(
        first=window.start,
        last=window.start + gap,
        size=size,
        support=float((near & alive[1]).sum() / max(len(near), MIN_POINTS)),
        offset=np.median(residual[gap, kept], 0).astype(np.float64) if enough else None,
        growth=_growth(predicted[gap, kept], points[gap, kept], size) if enough else None,
    )


def _carried_by_box(
    view: View, command: Command, window: Window, on_object: NDArray[np.intp], owner: int
) -> tuple[Array, Mask]:
    """Image points ``(L, n, 2)`` px that move with the box from the window's first frame; which ``(n,)`` meet it."""
    track, frames = view.tracks[owner], slice(window.start, window.start + window.length)
    world_to_box = inverse(track.box_to_world[window.start])
    camera_to_box = world_to_box @ command.camera_to_world[window.start]
    directions = command.directions(window.points[0, on_object])
    on_box, hit = ray_box(camera_to_box[:3, 3], directions @ camera_to_box[:3, :3].T, track.size)
    box_to_camera = inverse(command.camera_to_world[frames]) @ track.box_to_world[frames]
    predicted, _ = project(transform(box_to_camera, on_box[None]), command.intrinsics)
    return predicted, hit


def ray_box(origin: Array, directions: Array, size: Array) -> tuple[Array, Mask]:
    """Where rays from ``origin`` ``(3,)`` along ``directions`` ``(N, 3)`` enter a box of ``size`` centred at zero.

    Points ``(N, 3)`` m and whether ``(N,)`` there is one (Kay and Kajiya 1986, the slab method).
    """
    safe = np.where(np.abs(directions) < 1e-9, 1e-9, directions)
    one, other = (-size / 2 - origin) / safe, (size / 2 - origin) / safe
    enter, leave = np.minimum(one, other).max(1), np.maximum(one, other).min(1)
    return np.asarray(origin + enter[:, None] * directions), np.asarray((enter < leave) & (enter > 0))


def _gap(view: View, boxes: Boxes, window: Window, owner: int) -> int:
    """The longest gap over which the box stays judged and moves and grows no more than tracks can follow; or 0."""
    width, size = view.grey.shape[2], boxes.size[:, owner]
    centre = boxes.rectangle[:, owner].reshape(-1, 2, 2).mean(1)
    for k in range(1, window.length):
        motion = float(np.linalg.norm(centre[window.start + k] - centre[window.start]))
        change = size[window.start + k] / size[window.start]
        moderate = motion < MAX_MOTION_SHARE * width and 1 / MAX_SIZE_CHANGE < change < MAX_SIZE_CHANGE
        if not (moderate and boxes.judged[window.start + k, owner]):
            return k - 1
    return window.length - 1


def _growth(predicted: Array, points: Points, size: float) -> float | None:
    """Median log ratio of the distances between points, seen over predicted; None with too few far pairs."""
    i, j = np.triu_indices(len(points), 1)
    expected = np.linalg.norm(predicted[i] - predicted[j], axis=1)
    actual = np.linalg.norm(points[i] - points[j], axis=1)
    far = expected > 0.3 * size
    return float(np.median(np.log(np.maximum(actual[far], 0.1) / expected[far]))) if far.sum() >= MIN_POINTS else None


def _residual(seen: Sequence[Sighting], pixel: float) -> Sample | None:
    """Median over windows of the offset, in units of what a box is off by anyway."""
    ratios = [(_offset_ratio(s, pixel), s.frames) for s in seen if s.offset is not None]
    if len(ratios) < MIN_WINDOWS:
        return None
    return Sample(value=float(np.median([r for r, _ in ratios])), frames=max(ratios)[1])


def _offset_ratio(sighting: Sighting, pixel: float) -> float:
    tolerance = np.hypot(TOLERANCE_PX * pixel, TOLERANCE_SHARE * sighting.size)
    return float(np.linalg.norm(sighting.offset) / tolerance) if sighting.offset is not None else 0.0


def _jump(seen: Sequence[Sighting], pixel: float) -> Sample | None:
    """The largest offset, in sizes of the box, that two windows in a row agree on."""
    shares = [(float(np.linalg.norm(s.offset)) / max(s.size, 10 * pixel), s) for s in seen if s.offset is not None]
    agreed = [(min(a, b), (s.first, t.last)) for (a, s), (b, t) in pairwise(shares)]
    if not agreed:
        return None
    value, frames = max(agreed)
    return Sample(value=value, frames=frames)


def _drift(seen: Sequence[Sighting], command: Command | None) -> Sample | None:
    """How far the offsets add up, as an angle at the camera in degrees."""
    followed = [s for s in seen if s.offset is not None]
    if command is None or len(followed) < MIN_WINDOWS:
        return None
    focal = command.intrinsics[0, 0]
    total = sum(_own_share(s) * s.offset / focal for s in followed if s.offset is not None)
    return Sample(value=float(np.degrees(np.linalg.norm(total))), frames=_span(followed))


def _scale(seen: Sequence[Sighting], pixel: float) -> Sample | None:
    """How far the logs of growth add up, in units of what tracking noise and box error give."""
    grown = [s for s in seen if s.growth is not None]
    if len(grown) < MIN_WINDOWS:
        return None
    total = sum(_own_share(s) * s.growth for s in grown if s.growth is not None)
    noise = np.sqrt(sum((0.7 * pixel / s.size) ** 2 for s in grown) + TOLERANCE_SHARE**2)
    return Sample(value=float(abs(total) / noise), frames=_span(grown))


def _unsupported(seen: Sequence[Sighting]) -> Sample | None:
    """The largest share of points on the box that do not move with it which two windows in a row agree on."""
    pairs = pairwise(seen)
    support, frames = min((max(a.support, b.support), (a.first, b.last)) for a, b in pairs)
    return Sample(value=1.0 - support, frames=frames)


def _why_unseen(boxes: Boxes | None, large: float) -> str:
    """Why there are no sightings: boxes that ought to show something, or none of that kind."""
    if boxes is None or not boxes.judged.any():
        return NO_BOXES
    windows = boxes.judged[:-1] & boxes.judged[1:] & (boxes.size[:-1] > large)
    return TOO_FEW_ON_OBJECTS if (windows[::OBJECT_STRIDE].sum(0) >= MIN_WINDOWS).any() else SMALL_BOXES


def _own_share(sighting: Sighting) -> float:
    """Windows overlap: the share of a window's motion that lies before the next one begins."""
    return min(OBJECT_STRIDE / (sighting.last - sighting.first), 1.0)


def _span(seen: Iterable[Sighting]) -> tuple[int, int]:
    frames = [frame for s in seen for frame in s.frames]
    return min(frames), max(frames)
