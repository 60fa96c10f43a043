"""Why a nuScenes recording gives no clip: it is too short, or there are images missing, and what would help."""

from collections.abc import Sequence

import numpy as np

from driveforge.datasets.errors import UserError
from driveforge.datasets.framing import Framing
from driveforge.datasets.nuscenes.frames import Recording
from driveforge.datasets.reframe import MAX_LAG


def check_images(recording: Recording) -> None:
    """A UserError where a camera shows no image of its own in a frame of ``recording``, taken at its native rate."""
    if len(recording.timestamps) > 1:
        problem = _find_missing_image(recording, float(np.median(np.diff(recording.seconds))))
        if problem:
            raise UserError(f"scene {recording.row['name']}: {problem}; leave the camera or the scene out")


def too_short_error(recordings: Sequence[Recording], framing: Framing, pad_short_scenes: bool) -> UserError:
    """What to say where none of ``recordings`` gives a clip: of the longest one, what it lacks."""
    recording = max(recordings, key=lambda r: len(r.timestamps))
    num_frames, seconds = len(recording.timestamps), float(recording.seconds[-1])
    is_cut = sum(other.row["token"] == recording.row["token"] for other in recordings) > 1
    summary = (
        f"scene {recording.row['name']} has {num_frames} frame{'s' if num_frames > 1 else ''} ({seconds:.1f} s)"
        f"{' until its calibration changes' if is_cut else ''}, "
        f"clips need {framing.num_frames} at {framing.frame_rate:g} a second"
    )
    if num_frames < 2:
        return UserError(f"{summary}: no setting helps")
    hint = "" if pad_short_scenes else ", or continue short scenes with data.pad_short_scenes=true"
    fewer = "lower data.num_frames (to 1 + 4k) or data.frame_rate"
    step = 1.0 / framing.frame_rate
    gaps = np.diff(recording.seconds)
    reasons = []
    if gaps.max() > (1 + MAX_LAG) * step:
        at = int(gaps.argmax())
        reasons.append(f"no image for {gaps[at]:.1f} s from {recording.seconds[at]:.1f} s on")
    if problem := _find_missing_image(recording, step):
        reasons.append(problem)
    why = f" without a gap, there is {' and '.join(reasons)}" if reasons else ""
    return UserError(f"{summary}{why}: {fewer}{hint}")


def _find_missing_image(recording: Recording, step: float) -> str:
    """The first frame, ``step`` s from the next, in which a camera has no image of its own."""
    for camera, times in zip(recording.cameras[1:], recording.image_seconds[1:], strict=True):
        missing = np.abs(times - recording.seconds) > MAX_LAG * step
        missing[1:] |= np.diff(times) <= 0
        if missing.any():
            frame = int(missing.argmax())
            return f"no image of {camera.name} at {recording.seconds[frame]:.1f} s"
    return ""
