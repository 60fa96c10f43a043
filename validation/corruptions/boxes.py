"""A wrong command under clean pixels: boxes that leave their objects, and objects without a box."""

from dataclasses import replace

import numpy as np

from driveforge.datasets.geometry import Array
from driveforge.datasets.scene import Clip, Track
from driveforge.validation.corruptions.requirements import share_of_frames
from driveforge.validation.corruptions.visibility import (
    MARGIN_FRAMES,
    MIN_FRAMES_SEEN,
    Mask,
    draw_object,
    sights_of,
    turning_frame,
    well_seen,
    with_track,
)

PARKED_M, MOVING_M = 0.5, 2.0  # reach of a parked object at most, of a moving one at least


def object_teleport(clip: Clip, metres: float, rng: np.random.Generator) -> Clip:
    """From some frame on, the box of an object stands ``metres`` away, in a direction along the ground."""
    seen = well_seen(sights_of(clip))
    number = draw_object(clip, seen.sum(0) >= MIN_FRAMES_SEEN, "object", rng)
    start = turning_frame(seen[:, number], rng)
    away = np.where(np.arange(len(seen)) >= start, metres, 0.0)
    return _moved(clip, number, start, away, rng)


def object_drift(clip: Clip, metres_per_second: float, rng: np.random.Generator) -> Clip:
    """From where it is first seen well, the box of an object drifts off evenly, in a direction along the ground."""
    seen = well_seen(sights_of(clip))
    number = draw_object(clip, seen.sum(0) >= MIN_FRAMES_SEEN, "object", rng)
    start, times = int(np.argmax(seen[:, number])), clip.scene.timestamps
    return _moved(clip, number, start, metres_per_second * np.maximum(times - times[start], 0.0), rng)


def uncommanded_parked(clip: Clip, percent: float, rng: np.random.Generator) -> Clip:
    """A parked object has no box in the last ``percent`` of the frames, though it is drawn."""
    reaches = np.array([_reach(track) for track in clip.scene.tracks])
    return _unboxed(clip, percent, reaches <= PARKED_M, "parked object", rng)


def uncommanded_moving(clip: Clip, percent: float, rng: np.random.Generator) -> Clip:
    """A moving object has no box in the last ``percent`` of the frames, though it is drawn."""
    reaches = np.array([_reach(track) for track in clip.scene.tracks])
    return _unboxed(clip, percent, reaches >= MOVING_M, "moving object", rng)


def _moved(clip: Clip, number: int, start: int, away: Array, rng: np.random.Generator) -> Clip:
    """One box moved by ``away`` ``(T,)`` m in one direction of its own x-y plane at frame ``start``."""
    track, angle = clip.scene.tracks[number], rng.uniform(0, 2 * np.pi)
    direction = track.box_to_world[start, :3, :2] @ [np.cos(angle), np.sin(angle)]
    boxes = np.array(track.box_to_world)
    boxes[:, :3, 3] += away[:, None] * direction
    return with_track(clip, number, replace(track, box_to_world=boxes))


def _unboxed(clip: Clip, percent: float, among: Mask, what: str, rng: np.random.Generator) -> Clip:
    count = share_of_frames(clip, percent)
    seen = well_seen(sights_of(clip))[-count:].sum(0)
    number = draw_object(clip, among & (seen >= min(MARGIN_FRAMES, count)), what, rng)
    track = clip.scene.tracks[number]
    present = np.array(track.present)
    present[-count:] = False
    return with_track(clip, number, replace(track, present=present))


def _reach(track: Track) -> float:
    """Metres that the box gets away from where it is first present: jitter of its annotation does not add up."""
    places = track.box_to_world[track.present, :3, 3]
    return float(np.linalg.norm(places - places[:1], axis=1).max(initial=0.0))
