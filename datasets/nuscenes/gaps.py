"""Errors about nuScenes recordings that yield no clip, because they are too short or have missing images."""

from collections.abc import Sequence

import numpy as np

from driveforge.datasets.errors import UserError
from driveforge.datasets.framing import Framing
from driveforge.datasets.nuscenes.frames import Recording
from driveforge.datasets.reframe import MAX_LAG


def check_images(recording: Recording) -> None:
    """Raise UserError if a camera has no new image in a frame of ``recording``, at its native frame rate."""
    if len(recording.timestamps) > 1:
        problem = _find_missing_image(recording, float(np.median(np.diff(recording.seconds))))
        if problem:
            raise UserError(f"scene {recording.row['name']}: {problem}; leave the camera or the scene out")


def too_short_error(recordings: Sequence[Recording], framing: Framing, pad_short_scenes: bool) -> UserError:
    """The error if no recording yields a clip: the reason for the longest one."""
    recording = max(recordings, key=lambda r: len(r.timestamps))
    num_frames, seconds = len(recording.timestamps), float(recording.seconds[-1])
    is_cut = sum(other.row["token"] == recording.row["token"] for other in recordings) > 1
    summary = (
        f"scene {recording.row['name']} has {num_frames} frame{'s' if num_frames > 1 else ''} ({seconds:.1f} s)"
        f"{' until its calibration changes' if is_cut else ''}, "
        f"clips need {framing.num_frames} at {framing.frame_rate:g} Hz"
    )
    if num_frames < 2:
        return UserError(f"{summary}: it cannot be used with any settings")
    hint = "" if pad_short_scenes else ", or pad short scenes with data.pad_short_scenes=true"
    fewer = "lower data.num_frames (to 1 + 4k) or data.frame_rate"
    step = 1.0 / framing.frame_rate
    gaps = np.diff(recording.seconds)
    reasons = []
    if gaps.max() > (1 + MAX_LAG) * step:
        at = int(gaps.argmax())
        reasons.append(f"no image for {gaps[at]:.1f} s after {recording.seconds[at]:.1f} s")
    if problem := _find_missing_image(recording, step):
        reasons.append(problem)
    why = f" without a gap, but there is {' and '.join(reasons)}" if reasons else ""
    return UserError(f"{summary}{why}: {fewer}{hint}")


def _find_missing_image(recording: Recording, step: float) -> str:
    """A description of the first frame in which a camera has no new image, "" if there is none; frames are ``step`` s
    apart."""
    for camera, times in zip(recording.cameras[1:], recording.image_seconds[1:], strict=True):
        missing = np.abs(times - recording.seconds) > MAX_LAG * step
        missing[1:] |= np.diff(times) <= 0
        if missing.any():
            frame = int(missing.argmax())
            return f"no image of {camera.name} at {recording.seconds[frame]:.1f} s"
    return ""
