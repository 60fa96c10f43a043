"""Measure: every number of a clip, from its pixels and what was commanded, with no weights and nothing fitted to looks.

The reference view is the first calibrated camera; its measures have plain names. Those of every other calibrated camera
carry its name before a slash (``CAM_BACK/track_epipolar``), so that a side camera is held against side cameras. What
two cameras both see is measured under both names (``CAM_BACK+CAM_BACK_LEFT/camera_depth``).
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.scene import Clip
from driveforge.datasets.select_frames import select_clip_frames
from driveforge.validation.camera.deep_check import deep_measures
from driveforge.validation.camera.epipolar import cheirality_measure, epipolar_measures, stationary_measure
from driveforge.validation.camera.overlap import overlap_measures
from driveforge.validation.camera.pose_network import pose_network_measures
from driveforge.validation.camera.pose_refinement import (
    pose_measures,
    refine_all,
    rigidity_measure,
    why_not_refined,
    yaw_rate_seen,
)
from driveforge.validation.camera.scale import parked_scale_measure, road_scale_measure
from driveforge.validation.camera.triangulation import reprojection_measures
from driveforge.validation.catalogue import DEFINITIONS
from driveforge.validation.instruments import STANDARD, Instruments
from driveforge.validation.long_clips import windows_of, worst_of
from driveforge.validation.measure_covariates import circumstances
from driveforge.validation.objects.measures import object_measures
from driveforge.validation.point_tracking.protocol import PointTracker
from driveforge.validation.point_tracking.tracks import LUCAS_KANADE, Tracks, track_view
from driveforge.validation.records import TOO_FEW_FRAMES, Measure, Measures, unmeasurable
from driveforge.validation.temporal import (
    MIN_FRAMES,
    acceleration_measure,
    change_measures,
    photometric_measures,
    still_measure,
    track_loss_measure,
)
from driveforge.validation.views.boxes import Boxes, project_boxes
from driveforge.validation.views.view import View, one_thread, reference_view, views_of

__all__ = ["Inspected", "Measure", "Measures", "inspect", "measure", "recovered_yaw_rate", "static_track_residual"]

_OF_ONE_CAMERA = tuple(name for name, about in DEFINITIONS.items() if about.family != "cameras")
_NEED_COMMAND = tuple(
    name for name, about in DEFINITIONS.items() if about.family in ("tracks", "pose") or name == "time_still"
)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Inspected:
    """The measures of a clip, and what those of its reference ``view`` were taken on."""

    measures: Measures
    view: View
    boxes: Boxes | None
    tracks: Tracks


def measure(clip: Clip, instruments: Instruments = STANDARD) -> Measures:
    """All measures of all calibrated cameras; held frames are left out. Never NaN: *unmeasurable* says why instead.

    A long clip is measured window by window, in flat memory; of each measure the worst window counts.
    """
    windows = _windows(clip)
    if len(windows) == 1:
        return _inspect(clip, instruments).measures
    return worst_of(
        [(int(frames[0]), _inspect(select_clip_frames(clip, frames), instruments).measures) for frames in windows]
    )


def inspect(clip: Clip, instruments: Instruments = STANDARD) -> Inspected:
    """Measure a clip and keep what was followed in its reference view, all of it, for a picture of it."""
    if len(_windows(clip)) == 1:
        return _inspect(clip, instruments)
    view = reference_view(clip)
    boxes, tracks = _follow(view, instruments.tracker)
    return Inspected(measures=measure(clip, instruments), view=view, boxes=boxes, tracks=tracks)


def _windows(clip: Clip) -> list[NDArray[np.int64]]:
    return windows_of(clip.scene.num_frames - clip.scene.held_frames)


def _follow(view: View, tracker: PointTracker = LUCAS_KANADE) -> tuple[Boxes | None, Tracks]:
    boxes = project_boxes(view)
    with one_thread():
        return boxes, track_view(view, boxes, tracker)


def _inspect(clip: Clip, instruments: Instruments) -> Inspected:
    """Of a clip of one window."""
    with one_thread():
        views = views_of(clip)
        reference, *others = views
        boxes, tracks = _follow(reference, instruments.tracker)
        values = [*measure_view(reference, boxes, tracks, instruments), *overlap_measures(views)]
        around = circumstances(reference, tracks)
        for view in others:
            if view.command:
                of_view = measure_view(view, *_follow(view, instruments.tracker), instruments)
                values += [replace(m, name=f"{view.camera}/{m.name}") for m in of_view]
    measures = Measures(
        clip_id=clip.scene.clip_id,
        values=tuple(values),
        source=clip.scene.source,
        circumstances=around,
        tracker=instruments.tracker.name,
    )
    return Inspected(measures=measures, view=reference, boxes=boxes, tracks=tracks)


def measure_view(view: View, boxes: Boxes | None, tracks: Tracks, instruments: Instruments = STANDARD) -> list[Measure]:
    """All measures of one camera by itself, in the order of ``DEFINITIONS``."""
    if view.num_frames < MIN_FRAMES:
        return [unmeasurable(name, TOO_FEW_FRAMES) for name in _OF_ONE_CAMERA]
    taken = [
        *_against_command(view, boxes, tracks, instruments),
        *object_measures(view, boxes, tracks),
        *change_measures(view.grey),
        acceleration_measure(tracks, view.scale),
        track_loss_measure(tracks),
        *photometric_measures(view.grey, tracks),
    ]
    by_name = {measure.name: measure for measure in taken}
    return [by_name[name] for name in _OF_ONE_CAMERA]


def _against_command(view: View, boxes: Boxes | None, tracks: Tracks, instruments: Instruments) -> list[Measure]:
    """What is measured on the background against the commanded motion of the camera."""
    if view.command is None:
        return [unmeasurable(name, view.why) for name in _NEED_COMMAND]
    refined, why = refine_all(tracks, view.command), why_not_refined(tracks, view.command)
    return [
        *epipolar_measures(tracks, view.command),
        *reprojection_measures(tracks, view.command),
        cheirality_measure(tracks, view.command),
        stationary_measure(tracks, view.command),
        still_measure(tracks, view.command),
        *pose_measures(refined, view.command, view.timestamps, why),
        rigidity_measure(refined, view.command, why),
        road_scale_measure(view, view.command, boxes, refined, why),
        parked_scale_measure(view, view.command, boxes, tracks, refined, why),
        *pose_network_measures(view, view.command, instruments.pose_network),
        *deep_measures(view, view.command, boxes, asked=instruments.deep_check),
    ]


def static_track_residual(clip: Clip) -> float | None:
    """How far static tracks stray from the commanded motion: ``track_epipolar``, median Sampson distance, longest gap.

    Pixels of the image scaled to 256 rows, of the reference view; None where it cannot be measured.
    """
    view = reference_view(clip)
    if view.command is None:
        return None
    _, tracks = _follow(view)
    return next(m.value for m in epipolar_measures(tracks, view.command) if m.name == "track_epipolar")


def recovered_yaw_rate(clip: Clip) -> float | None:
    """Mean yaw rate of the ego that the pixels of the reference view show, deg/s, positive to the left.

    The search begins at the command but finds turns that are far from it. None where it cannot be measured.
    """
    view = reference_view(clip)
    if view.command is None:
        return None
    _, tracks = _follow(view)
    return yaw_rate_seen(refine_all(tracks, view.command), view.command, view.timestamps)
