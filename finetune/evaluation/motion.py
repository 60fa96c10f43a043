"""Motion in a generated clip compared with the true clip: of objects, points and the camera.

An object or point that is lost in the generated clip still counts in the errors. One that cannot be tracked in the true
clip, encoded and decoded by the VAE, is excluded for all models.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import Array
from driveforge.datasets.select_frames import select_clip_frames
from driveforge.finetune.evaluation.clips import EvaluationClip
from driveforge.finetune.evaluation.object_search import ObjectSearchResult, search_object
from driveforge.finetune.evaluation.points import MIN_POINTS, TruePointTracks, compute_point_errors, track_true_points
from driveforge.finetune.evaluation.results import EvaluationValue
from driveforge.finetune.evaluation.targets import Target, find_targets
from driveforge.validation.camera.pose_measures import pose_measures
from driveforge.validation.camera.tracked_view import TrackedView
from driveforge.validation.point_tracking.tracks import track_view
from driveforge.validation.views.boxes import project_boxes
from driveforge.validation.views.view import View, reference_view, single_threaded_opencv

OBJECT_MEASURES = ("ade", "fde", "ade_m", "velocity", "acceleration", "permanence")
NO_OBJECTS = "no clearly visible object of this type"
NO_POINTS = "too few trackable points in the true clip"
STATIONARY_CAMERA = "stationary camera"
NO_CONSECUTIVE_FRAMES = "too few consecutive frames"
STATIONARY_PX = 2.0  # reference px: speed is not measured if the true points move less than this
EGO_MEASURES = {"pose_yaw": "ego/yaw", "pose_rotation": "ego/rotation", "pose_translation": "ego/translation"}
MIN_PROGRESS = 0.25
MAX_TRACKING_ERROR_PX = 2.0  # reference px: an object with a larger error in the true clip cannot be tracked


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class GroundTruth:
    """The ground truth that every model's clip is compared with.

    ``moving`` ``(N,)`` is True for ``points`` on moving objects. ``camera`` are the camera measures of the
    true frames.
    """

    view: View
    targets: tuple[Target, ...]
    points: TruePointTracks
    moving: NDArray[np.bool_]
    camera: dict[str, float | str]


@lru_cache(maxsize=512)
def compute_ground_truth(clip: EvaluationClip, start: int) -> GroundTruth:
    """The ground truth after frame ``start``."""
    view = reference_view(clip.true_clip)
    found = [target for target in find_targets(view, start) if _is_trackable(view, target)]
    points = track_true_points(view, start)
    share = clip.tensors.moving[start].float().numpy()
    cell = view.gray.shape[1] // share.shape[0]
    x, y = (points.points[0] // cell).astype(int).clip(0, np.array(share.shape[::-1]) - 1).T
    return GroundTruth(
        view=view,
        targets=tuple(found),
        points=points,
        moving=share[y, x] > 0.5,
        camera=_measure_camera(clip, clip.frames, start),
    )


def _is_trackable(view: View, target: Target) -> bool:
    found_object = search_object(target, view.frames, view.frames)
    offset = np.linalg.norm(found_object.offset[target.judged], axis=1)
    return bool(found_object.found[target.judged].all() and offset.max() * view.scale < MAX_TRACKING_ERROR_PX)


def measure_motion(clip: EvaluationClip, frames: NDArray[np.uint8], start: int) -> Iterator[EvaluationValue]:
    """All motion measures of ``frames`` (T,H,W,3), which are generated after frame ``start``."""
    with single_threaded_opencv():
        ground_truth = compute_ground_truth(clip, start)
        view = reference_view(clip.with_frames(frames))
        progress, point_values = _measure_points(ground_truth, view)
        camera_values = _compare_camera(_measure_camera(clip, frames, start), ground_truth, progress)
        values = {**_measure_objects(ground_truth, view), **point_values, **camera_values}
    for measure, value in values.items():
        number, reason = (None, value) if isinstance(value, str) else (value, "")
        yield EvaluationValue(clip_id=clip.clip_id, domain=clip.domain, measure=measure, value=number, reason=reason)


def _measure_objects(ground_truth: GroundTruth, view: View) -> dict[str, float | str]:
    """Means over the objects that move in the world (``moving_objects``) and those that do not (``static_objects``)."""
    errors = [
        compute_object_errors(view, target, search_object(target, ground_truth.view.frames, view.frames))
        for target in ground_truth.targets
    ]
    values: dict[str, float | str] = {}
    for kind, is_moving in (("moving_objects", True), ("static_objects", False)):
        errors_of_kind = [
            found for found, target in zip(errors, ground_truth.targets, strict=True) if target.is_moving == is_moving
        ]
        for measure in OBJECT_MEASURES:
            numbers = [found[measure] for found in errors_of_kind if measure in found]
            reason = NO_CONSECUTIVE_FRAMES if errors_of_kind else NO_OBJECTS
            values[f"{kind}/{measure}"] = float(np.mean(numbers)) if numbers else reason
    return values


def compute_object_errors(view: View, target: Target, found_object: ObjectSearchResult) -> dict[str, float]:
    """Errors of the found center of an object's box against the true one.

    ``ade`` and ``fde``: mean and final distance in px of an image of 256 rows. ``ade_m``: the mean in meters
    perpendicular to the line of sight, at the true distance. ``velocity`` (m/s) and ``acceleration`` (m/s²): mean norm
    of the error of first and second differences, in the same plane. ``permanence``: 1 if it is found in the last frame,
    else 0.

    A lost object stays where it was last found; in ``ade``, ``fde`` and ``ade_m`` its distance is at least its size,
    because one that is static in the image would otherwise have no error.
    """
    frames = np.flatnonzero(target.judged)
    # An offset of 1 px at depth d is d / f meters.
    meters_per_px = target.distance / _focal(view)
    distance = np.linalg.norm(found_object.offset, axis=1)
    distance = np.where(found_object.found, distance, np.maximum(distance, target.size))[frames]
    offset_m = found_object.offset * meters_per_px[:, None]
    errors = {
        "ade": distance.mean() * view.scale,
        "fde": distance[-1] * view.scale,
        "ade_m": (distance * meters_per_px[frames]).mean(),
        "permanence": found_object.found[frames[-1]],
    }
    for order, name in ((1, "velocity"), (2, "acceleration")):
        rates = _differences(offset_m, view.timestamps, [target.start, *frames.tolist()], order)
        if rates:
            errors[name] = np.mean(rates)
    return {name: float(value) for name, value in errors.items()}


def _differences(offset_m: Array, times: Array, frames: Sequence[int], order: int) -> list[float]:
    """Norms of the ``order``-th time derivative of ``offset_m`` ``(T, 2)`` at every run of consecutive ``frames``."""
    step = float(np.median(np.diff(times)))
    available = set(frames)
    last = [t for t in frames if all(t - k in available for k in range(order + 1))]
    return [float(np.linalg.norm(np.diff(offset_m[t - order : t + 1], order, axis=0))) / step**order for t in last]


def _focal(view: View) -> float:
    assert view.command is not None, "boxes are projected only with a camera pose"
    return float(view.command.intrinsics[0, 0] + view.command.intrinsics[1, 1]) / 2


def _measure_points(ground_truth: GroundTruth, view: View) -> tuple[float | None, dict[str, float | str]]:
    """The progress of static points, and the point measures by name.

    ``points/moving`` and ``points/static`` are the median errors, in reference px, of points on moving objects and of
    all others. Progress is the median share of their true motion that static points make, 0 in a frozen clip; None if
    it cannot be measured. ``ego/speed`` is its difference from 1.
    """
    errors = compute_point_errors(view, ground_truth.points)
    values: dict[str, float | str] = {}
    for kind, chosen in (("moving", ground_truth.moving), ("static", ~ground_truth.moving)):
        enough = chosen.sum() >= MIN_POINTS
        values[f"points/{kind}"] = float(np.median(errors.distance[chosen]) * view.scale) if enough else NO_POINTS
    static = ~ground_truth.moving
    if static.sum() < MIN_POINTS:
        return None, {**values, "ego/speed": NO_POINTS}
    if np.median(errors.path[static]) * view.scale < STATIONARY_PX:
        return None, {**values, "ego/speed": STATIONARY_CAMERA}
    progress = float(np.median(errors.progress[static]))
    return progress, {**values, "ego/speed": abs(1 - progress)}


def _measure_camera(clip: EvaluationClip, frames: NDArray[np.uint8], start: int) -> dict[str, float | str]:
    """The error of the camera motion in ``frames`` against the recorded pose, as the validator measures it.

    ``ego/yaw`` deg/s, ``ego/rotation`` deg over 4 frames, ``ego/translation`` deg between the directions. A measure
    without a value has the reason instead.
    """
    view = reference_view(select_clip_frames(clip.with_frames(frames), np.arange(start, len(frames))))
    if view.command is None:
        return dict.fromkeys(EGO_MEASURES.values(), view.reason)
    boxes = project_boxes(view)
    tracked = TrackedView(view=view, boxes=boxes, tracks=track_view(view, boxes))
    return {EGO_MEASURES[m.name]: m.reason if m.value is None else m.value for m in pose_measures(tracked)}


def _compare_camera(
    values: dict[str, float | str], ground_truth: GroundTruth, progress: float | None
) -> dict[str, float | str]:
    """Adds ``ego/recovered``: whether the camera motion was found, on clips where it is found in the true frames.

    The estimate of the direction starts at the recorded one, and static pixels agree with any direction. So with less
    than a quarter of the true motion (``MIN_PROGRESS``) the direction counts as wrong by 90 degrees.
    """
    if isinstance(values["ego/translation"], float) and progress is not None and progress < MIN_PROGRESS:
        values["ego/translation"] = 90.0
    true, found = ground_truth.camera["ego/rotation"], values["ego/rotation"]
    return {**values, "ego/recovered": true if isinstance(true, str) else float(not isinstance(found, str))}
