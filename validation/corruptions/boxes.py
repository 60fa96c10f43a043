"""Corruptions of the commanded boxes under unchanged pixels: shifted boxes and missing boxes."""

from dataclasses import replace

import numpy as np

from driveforge.datasets.geometry import Array
from driveforge.datasets.scene import Clip, Track
from driveforge.validation.corruptions.requirements import percent_to_frames
from driveforge.validation.corruptions.visibility import (
    MARGIN_FRAMES,
    MIN_VISIBLE_FRAMES,
    Mask,
    box_visibilities,
    replace_track,
    sample_event_frame,
    sample_object,
    well_visible,
)

PARKED_M, MOVING_M = 0.5, 2.0  # largest displacement of a parked object, smallest one of a moving object


def object_teleport(clip: Clip, meters: float, rng: np.random.Generator) -> Clip:
    """From some frame on, the box of an object is shifted by ``meters`` along the ground."""
    visible = well_visible(box_visibilities(clip))
    track_index = sample_object(clip, visible.sum(0) >= MIN_VISIBLE_FRAMES, "object", rng)
    start = sample_event_frame(visible[:, track_index], rng)
    offset = np.where(np.arange(len(visible)) >= start, meters, 0.0)
    return _shift_box(clip, track_index, start, offset, rng)


def object_drift(clip: Clip, meters_per_second: float, rng: np.random.Generator) -> Clip:
    """From the first frame in which an object is well visible, its box drifts at constant speed along the ground."""
    visible = well_visible(box_visibilities(clip))
    track_index = sample_object(clip, visible.sum(0) >= MIN_VISIBLE_FRAMES, "object", rng)
    start, times = int(np.argmax(visible[:, track_index])), clip.scene.timestamps
    return _shift_box(clip, track_index, start, meters_per_second * np.maximum(times - times[start], 0.0), rng)


def uncommanded_parked(clip: Clip, percent: float, rng: np.random.Generator) -> Clip:
    """The box of a parked object is removed in the last ``percent`` of the frames."""
    displacements = np.array([_max_displacement(track) for track in clip.scene.tracks])
    return _remove_box(clip, percent, displacements <= PARKED_M, "parked object", rng)


def uncommanded_moving(clip: Clip, percent: float, rng: np.random.Generator) -> Clip:
    """The box of a moving object is removed in the last ``percent`` of the frames."""
    displacements = np.array([_max_displacement(track) for track in clip.scene.tracks])
    return _remove_box(clip, percent, displacements >= MOVING_M, "moving object", rng)


def _shift_box(clip: Clip, track_index: int, start: int, offset: Array, rng: np.random.Generator) -> Clip:
    """One box shifted by ``offset`` ``(T,)`` m in a random direction of its x-y plane at frame ``start``."""
    track, angle = clip.scene.tracks[track_index], rng.uniform(0, 2 * np.pi)
    direction = track.box_to_world[start, :3, :2] @ [np.cos(angle), np.sin(angle)]
    boxes = np.array(track.box_to_world)
    boxes[:, :3, 3] += offset[:, None] * direction
    return replace_track(clip, track_index, replace(track, box_to_world=boxes))


def _remove_box(clip: Clip, percent: float, candidates: Mask, what: str, rng: np.random.Generator) -> Clip:
    count = percent_to_frames(clip, percent)
    visible = well_visible(box_visibilities(clip))[-count:].sum(0)
    track_index = sample_object(clip, candidates & (visible >= min(MARGIN_FRAMES, count)), what, rng)
    track = clip.scene.tracks[track_index]
    present = np.array(track.present)
    present[-count:] = False
    return replace_track(clip, track_index, replace(track, present=present))


def _max_displacement(track: Track) -> float:
    """The largest distance of the box from its first position, m; annotation noise does not add up in it."""
    places = track.box_to_world[track.present, :3, 3]
    return float(np.linalg.norm(places - places[:1], axis=1).max(initial=0.0))
