"""Steps in which the points on an object stop moving with its box: the object vanishes, jumps or is replaced."""

from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np

from driveforge.datasets.conditioning.layout import NEAR_M
from driveforge.datasets.geometry import Array, box_corners, inverse
from driveforge.validation.objects.outlier_score import outlier_score
from driveforge.validation.point_tracking.tracks import Tracks
from driveforge.validation.views.boxes import Boxes
from driveforge.validation.views.view import CommandedCamera, View

# A point leaves its box if its motion in a step differs from that of the box by more than this.
STEP_PX, STEP_SHARE = 0.8, 0.1  # reference px, share of the box's size
MIN_POINTS = 6
PRIOR_POINTS = 4  # pseudo-points that do not leave: shrink a share that is estimated from few points


@dataclass(frozen=True, kw_only=True, slots=True)
class DepartureStep:
    """The ``share`` of the points on an object in ``frame - 1`` that are lost or leave the box in ``frame``.

    If the box is no longer ``judged`` in ``frame``, only points that are still tracked count. ``stray`` is the median
    distance of the tracked points from the motion of the box in this step, in tolerances; None with too few points.
    """

    frame: int
    share: float
    stray: float | None
    judged: bool


def departure_steps(
    view: View, command: CommandedCamera, boxes: Boxes, tracks: Tracks, box_index: int
) -> list[DepartureStep]:
    """Every step with enough points on an object, in order."""
    followed, lost, strayed = Counter[int](), Counter[int](), Counter[int]()
    distances: dict[int, list[float]] = defaultdict(list)
    in_front = _in_front(view, command, box_index)
    for window in tracks.objects:
        on_box, predicted = window.on_box(box_index)
        moved = np.linalg.norm(np.diff(window.points[:, on_box] - predicted, axis=0), axis=2)
        for k in range(1, window.length):
            frame = window.start + k
            if not in_front[frame]:
                break
            tolerance = max(STEP_PX / view.scale, STEP_SHARE * boxes.size[frame - 1, box_index])
            alive = window.alive[k, on_box]
            followed[frame] += int(alive.sum())
            lost[frame] += int(window.lost[k, on_box].sum())
            strayed[frame] += int((alive & (moved[k - 1] >= tolerance)).sum())
            distances[frame] += list(moved[k - 1, alive] / tolerance)
    steps = []
    for frame in sorted(followed):
        if not boxes.judged[frame - 1, box_index]:
            continue
        judged = bool(boxes.judged[frame, box_index])
        gone = strayed[frame] + (lost[frame] if judged else 0)
        total = followed[frame] + (lost[frame] if judged else 0)
        if total >= MIN_POINTS:
            stray = float(np.median(distances[frame])) if len(distances[frame]) >= MIN_POINTS else None
            steps.append(DepartureStep(frame=frame, share=gone / (total + PRIOR_POINTS), stray=stray, judged=judged))
    return steps


def departure_outliers(steps: list[DepartureStep]) -> dict[int, float]:
    """By frame, the outlier score of the share of points that leave the box.

    The last step is skipped, since an object that leaves the image loses its points there, unless only the box left
    the image.
    """
    shares = [step.share for step in steps]
    outlier_scores = {
        step.frame: outlier_score(shares, i) for i, step in enumerate(steps) if i < len(steps) - 1 or not step.judged
    }
    return {frame: score for frame, score in outlier_scores.items() if score is not None}


def _in_front(view: View, command: CommandedCamera, box_index: int) -> Array:
    """In which frames ``(T,)`` a box is present and entirely in front of the camera."""
    track = view.tracks[box_index]
    to_camera = inverse(command.camera_to_world) @ track.box_to_world
    return np.asarray(track.present & (box_corners(to_camera, track.size)[..., 2].min(-1) > NEAR_M))
