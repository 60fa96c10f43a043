"""The export format ``clipgt``: NVIDIA's world-scenario parquet, one folder per clip, with the videos beside it."""

from collections.abc import Sequence

from driveforge.datasets.clipgt.writer import missing_for_clipgt, write_clipgt
from driveforge.datasets.files.atomic import write_atomic
from driveforge.datasets.files.replaced_folder import replaced_folder
from driveforge.datasets.webdataset_shards.settings import ExportSettings
from driveforge.pipelines.export.accepted_clips import CLIPS_FILE, AcceptedClip, clip_lines, read_accepted
from driveforge.pipelines.run_dir import RunDir


def write_clipgt_export(run: RunDir, settings: ExportSettings) -> int:
    """Write the accepted clips of ``run`` to ``run.clipgt``; returns how many.

    Clips without ego pose or calibration are skipped with a message. Raises UserError if none is left.
    """
    clips = read_accepted(run, lambda scene: f"it has no {missing}" if (missing := missing_for_clipgt(scene)) else "")
    with replaced_folder(run.clipgt, "clipgt") as folder:
        for clip in clips:
            videos = {camera.name: clip.video(camera.name) for camera in clip.scene.cameras}
            write_clipgt(folder / clip.scene.clip_id, clip.scene, videos)
        write_atomic(folder / CLIPS_FILE, clip_lines(clips))
        write_atomic(folder / "README.md", _readme(settings, clips).encode())
    return len(clips)


def _readme(settings: ExportSettings, clips: Sequence[AcceptedClip]) -> str:
    example = clips[0].scene
    frames = sum(clip.scene.num_frames for clip in clips)
    return f"""# {settings.name}

{len(clips)} synthetic driving clips ({frames} frames) as ClipGT, the world-scenario parquet of NVIDIA's driving models.
License: {settings.license or "not stated"}.

Every clip is a folder, for example `{example.clip_id}/`:

| file | content |
| --- | --- |
| `<clip>.egomotion_estimate.parquet` | ego pose in every frame |
| `<clip>.obstacle.parquet` | boxes of objects in every frame |
| `<clip>.calibration_estimate.parquet` | cameras, as f-theta polynomials that approximate pinhole cameras |
| `<clip>.lane_line.parquet`, `road_boundary`, `crosswalk` | lines of the road |
| `<clip>.<camera>.mp4`, `<clip>.<camera>.json` | video of a camera, times of its frames in microseconds |
| `<clip>.prompt.txt` | caption |
| `<clip>.driveforge.json` | what ClipGT has no column for: exact pinhole cameras, categories, domain, split |

The world frame of a clip has its origin at the first ego pose: x forward, y left, z up, in meters; the ego frame is at
the center of the rear axle on the ground. Videos are pinhole images, copied from the accepted clips.
`{CLIPS_FILE}` holds the request, the measures and the verdict of every clip, one line of JSON each.

To generate from these scenes again:

```sh
driveforge generate data=clipgt data.root=DIR data.cameras=[{example.cameras[0].name}] run_dir=runs/again
```
"""
