"""The export format ``lerobot``: a LeRobot data set of version 3.0 with an episode per accepted clip."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import write_atomic
from driveforge.datasets.files.replaced_folder import replaced_folder
from driveforge.datasets.lerobot.motion import ACTION_NAMES, STATE_NAMES
from driveforge.datasets.lerobot.writer import Episode, write_lerobot
from driveforge.datasets.progress import show_status
from driveforge.datasets.scene import Scene
from driveforge.datasets.webdataset_shards.settings import ExportSettings
from driveforge.pipelines.export.accepted_clips import (
    CLIPS_FILE,
    AcceptedClip,
    AcceptedClips,
    clip_lines,
    read_accepted,
    split_clips,
)
from driveforge.pipelines.export.summary import ExportSummary
from driveforge.pipelines.run_dir import RunDir

# A data set has one frame rate; the timing of its episodes may differ by this share.
_RATE_TOLERANCE = 0.02


def export_lerobot(run: RunDir, settings: ExportSettings) -> ExportSummary:
    """Write the accepted clips to ``run.lerobot``, which replaces an earlier export of this format.

    Clips without ego pose, of a single frame, or with other cameras or another frame rate than most are left out,
    with a message. Raises UserError if nothing can be exported.
    """
    accepted = read_accepted(run, settings, _find_problem)
    frame_rate = _common_rate([clip.scene.frame_rate for clip in accepted.clips])
    accepted = replace(accepted, clips=_uniform(accepted.clips, frame_rate))
    with replaced_folder(run.lerobot, "lerobot") as folder:
        episodes = [Episode(scene=clip.scene, video=clip.video) for clip in accepted.clips]
        with show_status("Exporting"):
            write_lerobot(folder, episodes, frame_rate)
        write_atomic(folder / CLIPS_FILE, clip_lines(accepted.clips))
        write_atomic(folder / "README.md", _readme(settings, accepted, frame_rate).encode())
    num_clips = len(accepted.clips)
    text = f"{num_clips} clips as a LeRobot data set"
    return ExportSummary(folder=run.lerobot, text=text, metrics={"clips": num_clips}, artifacts=("README.md",))


def _find_problem(scene: Scene) -> str:
    if scene.ego_to_world is None:
        return "no ego pose"
    return "a single frame" if scene.num_frames < 2 else ""


def _common_rate(rates: Sequence[float]) -> float:
    """The frame rate of most clips, as a whole number of Hz if it is close to one."""
    median = float(np.median(rates))
    return float(round(median)) if abs(round(median) - median) <= _RATE_TOLERANCE * median else round(median, 3)


def _uniform(clips: Sequence[AcceptedClip], frame_rate: float) -> list[AcceptedClip]:
    """The clips that fit into one data set: the most common cameras with their sizes, and ``frame_rate``."""
    common = Counter(_cameras(clip.scene) for clip in clips).most_common(1)[0][0]

    def find_problem(clip: AcceptedClip) -> str:
        cameras, rate = _cameras(clip.scene), clip.scene.frame_rate
        if cameras != common:
            return f"cameras {_describe(cameras)}, those of the data set are {_describe(common)}"
        is_other_rate = abs(rate - frame_rate) > _RATE_TOLERANCE * frame_rate
        return f"frame rate {rate:g} Hz, that of the data set is {frame_rate:g} Hz" if is_other_rate else ""

    kept, _ = split_clips(clips, find_problem)
    if not kept:
        raise UserError(f"the accepted clips share no frame rate close to {frame_rate:g} Hz, which LeRobot needs")
    return kept


def _cameras(scene: Scene) -> tuple[tuple[str, int, int], ...]:
    return tuple((camera.name, camera.width, camera.height) for camera in scene.cameras)


def _describe(cameras: Sequence[tuple[str, int, int]]) -> str:
    return ", ".join(f"{name} {width}x{height}" for name, width, height in cameras)


def _readme(settings: ExportSettings, accepted: AcceptedClips, frame_rate: float) -> str:
    clips = accepted.clips
    frames = sum(clip.scene.num_frames for clip in clips)
    cameras = ", ".join(f"`observation.images.{name.lower()}`" for name, _, _ in _cameras(clips[0].scene))
    return f"""# {settings.name}

{len(clips)} driving clips ({frames} frames at {frame_rate:g} Hz), each an episode of a LeRobot v3.0 data set.

{accepted.describe()}

License: {settings.license or "not stated"}.

| feature | content |
| --- | --- |
| {cameras} | video; packets are copied from the accepted clips |
| `observation.state` | {", ".join(STATE_NAMES)}: meters, radians, seconds, in the frame of the first ego pose |
| `action` | {", ".join(ACTION_NAMES)}: ego motion to the next frame in the current ego frame, meters and radians |
| `task_index` | caption of the clip |

Axes are x forward, y left, z up; the ego frame is at the center of the rear axle on the ground. The action of the last
frame repeats the one before. `{CLIPS_FILE}` holds the request, the measures and the verdict of every clip.

```python
from lerobot.datasets.lerobot_dataset import LeRobotDataset

dataset = LeRobotDataset("local/driving", root="DIR")
```
"""
