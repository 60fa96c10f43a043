"""How things move in a generated clip against how they truly moved: objects, points and the camera.

What is gone does not drop out of the errors. What could not be followed in the true clip, as the codec passes it, is
left out of the measures of every model alike.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import Array
from driveforge.datasets.select_frames import select_clip_frames
from driveforge.finetune.evaluation.clips import ProbeClip
from driveforge.finetune.evaluation.object_search import Followed, follow
from driveforge.finetune.evaluation.points import MIN_POINTS, TruePoints, point_errors, true_points
from driveforge.finetune.evaluation.results import ProbeValue
from driveforge.finetune.evaluation.targets import Target, targets_of
from driveforge.validation.camera.pose_refinement import pose_measures, refine_all, why_not_refined
from driveforge.validation.point_tracking.tracks import track_view
from driveforge.validation.views.boxes import project_boxes
from driveforge.validation.views.view import View, one_thread, reference_view

OBJECT_MEASURES = ("ade", "fde", "ade_m", "velocity", "acceleration", "permanence")
NO_OBJECTS = "no object of the kind is well seen"
NO_POINTS = "too few points can be followed in the true clip"
STANDS = "the camera stands"
NO_ROOM = "too few frames in a row"
STANDS_PX = 2.0  # reference px: points that truly go less far than this tell no speed
EGO_MEASURES = {"pose_yaw": "ego/yaw", "pose_rotation": "ego/rotation", "pose_translation": "ego/translation"}
MIN_PROGRESS = 0.25
FOLLOWED_PX = 2.0  # reference px: what is found further off in the true clip itself cannot be followed


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Truth:
    """What is looked for in every model's clip: ``targets``, and ``points`` that are ``moving`` ``(N,)`` or not.

    ``camera`` is what its motion comes out as in the true frames.
    """

    view: View
    targets: tuple[Target, ...]
    points: TruePoints
    moving: NDArray[np.bool_]
    camera: dict[str, float | str]


@lru_cache(maxsize=512)
def truth_of(clip: ProbeClip, start: int) -> Truth:
    """The truth after frame ``start``."""
    view = reference_view(clip.true)
    found = [target for target in targets_of(view, start) if _can_be_followed(view, target)]
    points = true_points(view, start)
    share = clip.tensors["moving"][start].float().numpy()
    cell = view.grey.shape[1] // share.shape[0]
    x, y = (points.points[0] // cell).astype(int).clip(0, np.array(share.shape[::-1]) - 1).T
    return Truth(
        view=view,
        targets=tuple(found),
        points=points,
        moving=share[y, x] > 0.5,
        camera=_of_camera(clip, clip.frames, start),
    )


def _can_be_followed(view: View, target: Target) -> bool:
    followed = follow(target, view.frames, view.frames)
    offset = np.linalg.norm(followed.offset[target.judged], axis=1)
    return bool(followed.found[target.judged].all() and offset.max() * view.scale < FOLLOWED_PX)


def motion_values(clip: ProbeClip, frames: NDArray[np.uint8], start: int) -> Iterator[ProbeValue]:
    """All measures of motion of generated ``frames`` (T,H,W,3) that begin to be the model's after frame ``start``."""
    with one_thread():
        truth = truth_of(clip, start)
        view = reference_view(clip.showing(frames))
        progress, of_points = _of_points(truth, view)
        of_camera = _against_truth(_of_camera(clip, frames, start), truth, progress)
        values = {**_of_objects(truth, view), **of_points, **of_camera}
    for measure, value in values.items():
        number, why = (None, value) if isinstance(value, str) else (value, "")
        yield ProbeValue(clip_id=clip.clip_id, domain=clip.domain, measure=measure, value=number, why=why)


def _of_objects(truth: Truth, view: View) -> dict[str, float | str]:
    """Means over the objects that move by themselves (``mover``) and those that stand (``standing``)."""
    errors = [object_errors(view, target, follow(target, truth.view.frames, view.frames)) for target in truth.targets]
    values: dict[str, float | str] = {}
    for kind, moves in (("mover", True), ("standing", False)):
        of_kind = [found for found, target in zip(errors, truth.targets, strict=True) if target.moves == moves]
        for measure in OBJECT_MEASURES:
            numbers = [found[measure] for found in of_kind if measure in found]
            why = NO_ROOM if of_kind else NO_OBJECTS
            values[f"{kind}/{measure}"] = float(np.mean(numbers)) if numbers else why
    return values


def object_errors(view: View, target: Target, followed: Followed) -> dict[str, float]:
    """Of one object, the true centre of its box against the one that was found.

    ``ade`` and ``fde``: mean and last distance, px of an image of 256 rows. ``ade_m``: the mean in metres across the
    line of sight, at the true distance. ``velocity`` (m/s) and ``acceleration`` (m/s²): mean size of the error of first
    and second differences, likewise across the line of sight. ``permanence``: 1 where it is there at the end, else 0.

    A gone object counts as if it had stayed where it was last seen, but in ``ade``, ``fde`` and ``ade_m`` as one of its
    sizes off at least: else one that stands in the image could vanish for free.
    """
    frames = np.flatnonzero(target.judged)
    metres_per_px = target.distance / _focal(view)
    distance = np.linalg.norm(followed.offset, axis=1)
    distance = np.where(followed.found, distance, np.maximum(distance, target.size))[frames]
    metres = followed.offset * metres_per_px[:, None]
    errors = {
        "ade": distance.mean() * view.scale,
        "fde": distance[-1] * view.scale,
        "ade_m": (distance * metres_per_px[frames]).mean(),
        "permanence": followed.found[frames[-1]],
    }
    for order, name in ((1, "velocity"), (2, "acceleration")):
        rates = _differences(metres, view.timestamps, [target.start, *frames.tolist()], order)
        if rates:
            errors[name] = np.mean(rates)
    return {name: float(value) for name, value in errors.items()}


def _differences(metres: Array, times: Array, frames: Sequence[int], order: int) -> list[float]:
    """Sizes of the ``order``-th time derivative of ``metres`` ``(T, 2)`` wherever ``frames`` follow without a gap."""
    step = float(np.median(np.diff(times)))
    seen = set(frames)
    last = [t for t in frames if all(t - k in seen for k in range(order + 1))]
    return [float(np.linalg.norm(np.diff(metres[t - order : t + 1], order, axis=0))) / step**order for t in last]


def _focal(view: View) -> float:
    assert view.command is not None, "objects have been projected"
    return float(view.command.intrinsics[0, 0] + view.command.intrinsics[1, 1]) / 2


def _of_points(truth: Truth, view: View) -> tuple[float | None, dict[str, float | str]]:
    """Median error of points, reference px: ``points/moving`` on what moves by itself, ``points/static`` elsewhere.

    ``ego/speed`` is how far from 1 the median share is of their true motion that static points make, which comes first:
    0 in a frozen clip, None where there is no telling.
    """
    errors = point_errors(view, truth.points)
    values: dict[str, float | str] = {}
    for kind, chosen in (("moving", truth.moving), ("static", ~truth.moving)):
        enough = chosen.sum() >= MIN_POINTS
        values[f"points/{kind}"] = float(np.median(errors.distance[chosen]) * view.scale) if enough else NO_POINTS
    still = ~truth.moving
    if still.sum() < MIN_POINTS:
        return None, {**values, "ego/speed": NO_POINTS}
    if np.median(errors.path[still]) * view.scale < STANDS_PX:
        return None, {**values, "ego/speed": STANDS}
    progress = float(np.median(errors.progress[still]))
    return progress, {**values, "ego/speed": abs(1 - progress)}


def _of_camera(clip: ProbeClip, frames: NDArray[np.uint8], start: int) -> dict[str, float | str]:
    """The camera's motion that frames show, against the recorded pose: as the validator measures it.

    ``ego/yaw`` deg/s, ``ego/rotation`` deg over 4 frames, ``ego/translation`` deg between the directions.
    """
    view = reference_view(select_clip_frames(clip.showing(frames), np.arange(start, len(frames))))
    if view.command is None:
        return dict.fromkeys(EGO_MEASURES.values(), view.why)
    tracks = track_view(view, project_boxes(view))
    refined, why = refine_all(tracks, view.command), why_not_refined(tracks, view.command)
    measures = pose_measures(refined, view.command, view.timestamps, why)
    return {EGO_MEASURES[m.name]: m.why if m.value is None else m.value for m in measures}


def _against_truth(values: dict[str, float | str], truth: Truth, progress: float | None) -> dict[str, float | str]:
    """``ego/recovered`` beside them: whether the camera's motion could be found where the true clip shows it.

    The direction is sought from the recorded one on, so pixels that stand still would agree with any: where less than
    a quarter of the true motion is seen, it counts as a right angle off.
    """
    if isinstance(values["ego/translation"], float) and progress is not None and progress < MIN_PROGRESS:
        values["ego/translation"] = 90.0
    shown, found = truth.camera["ego/rotation"], values["ego/rotation"]
    return {**values, "ego/recovered": shown if isinstance(shown, str) else float(not isinstance(found, str))}
