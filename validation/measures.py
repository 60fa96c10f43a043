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
from driveforge.validation.camera.colmap_check import colmap_measures
from driveforge.validation.camera.epipolar import cheirality_measure, epipolar_measures, stationary_measure
from driveforge.validation.camera.overlap import overlap_measures
from driveforge.validation.camera.pose_network import pose_network_measures
from driveforge.validation.camera.pose_refinement import (
    not_refined_reason,
    observed_yaw_rate,
    pose_measures,
    refine_motions,
    rigidity_measure,
)
from driveforge.validation.camera.scale import parked_scale_measure, road_scale_measure
from driveforge.validation.camera.triangulation import reprojection_measures
from driveforge.validation.catalog import DEFINITIONS
from driveforge.validation.instruments import DEFAULT_INSTRUMENTS, Instruments
from driveforge.validation.long_clips import merge_worst, split_windows
from driveforge.validation.measure_covariates import measure_covariates
from driveforge.validation.objects.measures import object_measures
from driveforge.validation.point_tracking.protocol import PointTracker
from driveforge.validation.point_tracking.tracks import DEFAULT_TRACKER, Tracks, track_view
from driveforge.validation.records import TOO_FEW_FRAMES, Measure, Measures, make_unmeasurable
from driveforge.validation.temporal import (
    MIN_FRAMES,
    acceleration_measure,
    change_measures,
    photometric_measures,
    still_measure,
    track_loss_measure,
)
from driveforge.validation.views.boxes import Boxes, project_boxes
from driveforge.validation.views.view import View, list_views, reference_view, single_threaded_opencv

__all__ = [
    "Measure",
    "MeasuredClip",
    "Measures",
    "measure",
    "measure_clip",
    "recovered_yaw_rate",
    "static_track_residual",
]

_SINGLE_CAMERA_MEASURES = tuple(name for name, definition in DEFINITIONS.items() if definition.family != "cameras")
_COMMAND_MEASURES = tuple(
    name for name, definition in DEFINITIONS.items() if definition.family in ("tracks", "pose") or name == "time_still"
)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MeasuredClip:
    """The measures of a clip, and what those of its reference ``view`` were taken on."""

    measures: Measures
    view: View
    boxes: Boxes | None
    tracks: Tracks


def measure(clip: Clip, instruments: Instruments = DEFAULT_INSTRUMENTS) -> Measures:
    """All measures of all calibrated cameras; held frames are left out. Never NaN: *unmeasurable* says why instead.

    A long clip is measured window by window, in flat memory; of each measure the worst window counts.
    """
    windows = _windows(clip)
    if len(windows) == 1:
        return _measure_window(clip, instruments).measures
    return merge_worst(
        [
            (int(frames[0]), _measure_window(select_clip_frames(clip, frames), instruments).measures)
            for frames in windows
        ]
    )


def measure_clip(clip: Clip, instruments: Instruments = DEFAULT_INSTRUMENTS) -> MeasuredClip:
    """Measure a clip and keep what was followed in its reference view, all of it, for a picture of it."""
    if len(_windows(clip)) == 1:
        return _measure_window(clip, instruments)
    view = reference_view(clip)
    boxes, tracks = _track(view, instruments.tracker)
    return MeasuredClip(measures=measure(clip, instruments), view=view, boxes=boxes, tracks=tracks)


def _windows(clip: Clip) -> list[NDArray[np.int64]]:
    return split_windows(clip.scene.num_frames - clip.scene.held_frames)


def _track(view: View, tracker: PointTracker = DEFAULT_TRACKER) -> tuple[Boxes | None, Tracks]:
    boxes = project_boxes(view)
    with single_threaded_opencv():
        return boxes, track_view(view, boxes, tracker)


def _measure_window(clip: Clip, instruments: Instruments) -> MeasuredClip:
    """Of a clip of one window."""
    with single_threaded_opencv():
        views = list_views(clip)
        reference, *others = views
        boxes, tracks = _track(reference, instruments.tracker)
        values = [*measure_view(reference, boxes, tracks, instruments), *overlap_measures(views)]
        covariates = measure_covariates(reference, tracks)
        for view in others:
            if view.command:
                view_measures = measure_view(view, *_track(view, instruments.tracker), instruments)
                values += [replace(m, name=f"{view.camera}/{m.name}") for m in view_measures]
    measures = Measures(
        clip_id=clip.scene.clip_id,
        values=tuple(values),
        source=clip.scene.source,
        covariates=covariates,
        tracker=instruments.tracker.name,
    )
    return MeasuredClip(measures=measures, view=reference, boxes=boxes, tracks=tracks)


def measure_view(
    view: View, boxes: Boxes | None, tracks: Tracks, instruments: Instruments = DEFAULT_INSTRUMENTS
) -> list[Measure]:
    """All measures of one camera by itself, in the order of ``DEFINITIONS``."""
    if view.num_frames < MIN_FRAMES:
        return [make_unmeasurable(name, TOO_FEW_FRAMES) for name in _SINGLE_CAMERA_MEASURES]
    taken = [
        *_command_measures(view, boxes, tracks, instruments),
        *object_measures(view, boxes, tracks),
        *change_measures(view.gray),
        acceleration_measure(tracks, view.scale),
        track_loss_measure(tracks),
        *photometric_measures(view.gray, tracks),
    ]
    by_name = {measure.name: measure for measure in taken}
    return [by_name[name] for name in _SINGLE_CAMERA_MEASURES]


def _command_measures(view: View, boxes: Boxes | None, tracks: Tracks, instruments: Instruments) -> list[Measure]:
    """What is measured on the background against the commanded motion of the camera."""
    if view.command is None:
        return [make_unmeasurable(name, view.reason) for name in _COMMAND_MEASURES]
    refined, reason = refine_motions(tracks, view.command), not_refined_reason(tracks, view.command)
    return [
        *epipolar_measures(tracks, view.command),
        *reprojection_measures(tracks, view.command),
        cheirality_measure(tracks, view.command),
        stationary_measure(tracks, view.command),
        still_measure(tracks, view.command),
        *pose_measures(refined, view.command, view.timestamps, reason),
        rigidity_measure(refined, view.command, reason),
        road_scale_measure(view, view.command, boxes, refined, reason),
        parked_scale_measure(view, view.command, boxes, tracks, refined, reason),
        *pose_network_measures(view, view.command, instruments.pose_network),
        *colmap_measures(view, view.command, boxes, enabled=instruments.colmap_check),
    ]


def static_track_residual(clip: Clip) -> float | None:
    """How far static tracks stray from the commanded motion: ``track_epipolar``, median Sampson distance, longest gap.

    Pixels of the image scaled to 256 rows, of the reference view; None where it cannot be measured.
    """
    view = reference_view(clip)
    if view.command is None:
        return None
    _, tracks = _track(view)
    return next(m.value for m in epipolar_measures(tracks, view.command) if m.name == "track_epipolar")


def recovered_yaw_rate(clip: Clip) -> float | None:
    """Mean yaw rate of the ego that the pixels of the reference view show, deg/s, positive to the left.

    The search begins at the command but finds turns that are far from it. None where it cannot be measured.
    """
    view = reference_view(clip)
    if view.command is None:
        return None
    _, tracks = _track(view)
    return observed_yaw_rate(refine_motions(tracks, view.command), view.command, view.timestamps)
