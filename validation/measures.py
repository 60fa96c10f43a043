"""Measures of a clip, from its pixels and its command. No measure is learned by default, and no weights are needed.

The reference view is the first calibrated camera; its measures have plain names. The measures of every other calibrated
camera have its name in front (``CAM_BACK/track_epipolar``), so that side cameras are compared with side cameras.
Measures of two overlapping cameras have both names (``CAM_BACK+CAM_BACK_LEFT/camera_depth``).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Clip
from driveforge.datasets.select_frames import select_clip_frames
from driveforge.validation.camera.epipolar_measures import epipolar_measures
from driveforge.validation.camera.pose_measures import observed_yaw_rate
from driveforge.validation.camera.tracked_view import TrackedView
from driveforge.validation.catalog import DEFINITIONS
from driveforge.validation.instruments import DEFAULT_INSTRUMENTS, Instruments
from driveforge.validation.long_clips import merge_worst, split_windows
from driveforge.validation.measure_covariates import measure_covariates
from driveforge.validation.measure_definition import MeasureDefinition
from driveforge.validation.point_tracking.tracks import Tracks, track_view
from driveforge.validation.records import TOO_FEW_FRAMES, Measure, Measures, make_unmeasurable
from driveforge.validation.temporal import MIN_FRAMES
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


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MeasuredClip:
    """The measures of a clip, with the view, boxes and tracks that those of its reference ``view`` are based on."""

    measures: Measures
    view: View
    boxes: Boxes | None
    tracks: Tracks


def measure(clip: Clip, instruments: Instruments = DEFAULT_INSTRUMENTS) -> Measures:
    """All measures of all calibrated cameras, without held frames. A value is never NaN: it is None with a reason.

    A long clip is measured window by window in constant memory; each measure takes the value of its worst window.
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
    """Measure a clip and keep the tracks of its whole reference view, to plot them."""
    if len(_windows(clip)) == 1:
        return _measure_window(clip, instruments)
    tracked = _track(reference_view(clip), instruments)
    return MeasuredClip(
        measures=measure(clip, instruments), view=tracked.view, boxes=tracked.boxes, tracks=tracked.tracks
    )


def static_track_residual(clip: Clip) -> float | None:
    """Deviation of static tracks from the commanded motion: ``track_epipolar``, median Sampson distance, longest gap.

    In pixels of the image scaled to 256 rows, in the reference view; None if it cannot be measured.
    """
    view = reference_view(clip)
    if view.command is None:
        return None
    return next(m.value for m in epipolar_measures(_track(view)) if m.name == "track_epipolar")


def recovered_yaw_rate(clip: Clip) -> float | None:
    """Mean yaw rate of the ego that the pixels of the reference view show, deg/s, positive to the left.

    The search starts at the command but also finds turns far from it. None if it cannot be measured.
    """
    view = reference_view(clip)
    if view.command is None:
        return None
    return observed_yaw_rate(_track(view))


def _windows(clip: Clip) -> list[NDArray[np.int64]]:
    return split_windows(clip.scene.num_frames - clip.scene.held_frames)


def _track(view: View, instruments: Instruments = DEFAULT_INSTRUMENTS) -> TrackedView:
    boxes = project_boxes(view)
    with single_threaded_opencv():
        tracks = track_view(view, boxes, instruments.tracker)
    return TrackedView(view=view, boxes=boxes, tracks=tracks, instruments=instruments)


def _measure_window(clip: Clip, instruments: Instruments) -> MeasuredClip:
    """Measure a clip of one window."""
    with single_threaded_opencv():
        views = list_views(clip)
        reference, *others = views
        tracked = _track(reference, instruments)
        values = [*_measure_view(tracked), *_measure_all_views(views)]
        covariates = measure_covariates(reference, tracked.tracks)
        for view in others:
            if view.command:
                view_measures = _measure_view(_track(view, instruments))
                values += [replace(m, name=f"{view.camera}/{m.name}") for m in view_measures]
    measures = Measures(
        clip_id=clip.scene.clip_id,
        values=tuple(values),
        source=clip.scene.source,
        covariates=covariates,
        tracker=instruments.tracker.name,
    )
    return MeasuredClip(measures=measures, view=reference, boxes=tracked.boxes, tracks=tracked.tracks)


def _measure_view(tracked: TrackedView) -> list[Measure]:
    """All measures of a single camera, in the order of the catalog."""
    definitions = {name: d for name, d in DEFINITIONS.items() if d.family != "cameras"}
    if tracked.view.num_frames < MIN_FRAMES:
        return [make_unmeasurable(name, TOO_FEW_FRAMES) for name in definitions]
    measures: dict[str, Measure] = {}
    for function, names in _names_by_function(definitions).items():
        if definitions[names[0]].needs_command and tracked.view.command is None:
            measures |= {name: make_unmeasurable(name, tracked.view.reason) for name in names}
        else:
            measures |= {m.name: m for m in _call(function, names, tracked)}
    return [measures[name] for name in definitions]


def _measure_all_views(views: Sequence[View]) -> list[Measure]:
    """The measures of overlapping cameras."""
    definitions = {name: d for name, d in DEFINITIONS.items() if d.family == "cameras"}
    return [m for function, names in _names_by_function(definitions).items() for m in _call(function, names, views)]


def _names_by_function(definitions: Mapping[str, MeasureDefinition]) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for name, definition in definitions.items():
        names.setdefault(definition.function, []).append(name)
    return names


def _call(function: str, names: Sequence[str], argument: TrackedView | Sequence[View]) -> list[Measure]:
    """The measures that a function returns. Raises UserError if they are not those that the catalog lists for it."""
    found = _import_function(function)(argument)
    measures = [found] if isinstance(found, Measure) else list(found)
    returned = {m.name.rpartition("/")[2] for m in measures}
    if returned != set(names):
        raise UserError(
            f"{function} returned {', '.join(sorted(returned))}, but validation/measure_tables lists "
            f"{', '.join(sorted(names))}; correct the row or the function"
        )
    return measures


def _import_function(path: str) -> Callable[[TrackedView | Sequence[View]], Measure | Sequence[Measure]]:
    module, _, name = path.partition(":")
    try:
        function: Callable[..., Measure | Sequence[Measure]] = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UserError(f"validation/measure_tables: there is no function {path} ({error})") from error
    return function
