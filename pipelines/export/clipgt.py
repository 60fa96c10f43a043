"""The export format ``clipgt``: NVIDIA's world-scenario parquet, one folder per clip, with the videos beside it."""

from driveforge.datasets.clipgt.writer import missing_for_clipgt, write_clipgt
from driveforge.datasets.files.atomic import write_atomic
from driveforge.datasets.files.replaced_folder import replaced_folder
from driveforge.datasets.progress import track
from driveforge.datasets.scene import Scene
from driveforge.datasets.webdataset_shards.settings import ExportSettings
from driveforge.pipelines.export.accepted_clips import CLIPS_FILE, AcceptedClips, clip_lines, read_accepted
from driveforge.pipelines.export.summary import ExportSummary
from driveforge.pipelines.run_dir import RunDir


def export_clipgt(run: RunDir, settings: ExportSettings) -> ExportSummary:
    """Write the accepted clips to ``run.clipgt``, which replaces an earlier export of this format.

    Clips without ego pose or calibration are left out, with a message. Raises UserError if nothing can be exported.
    """
    accepted = read_accepted(run, settings, _find_problem)
    with replaced_folder(run.clipgt, "clipgt") as folder:
        for clip in track(accepted.clips, "Exporting"):
            videos = {camera.name: clip.video(camera.name) for camera in clip.scene.cameras}
            write_clipgt(folder / clip.scene.clip_id, clip.scene, videos)
        write_atomic(folder / CLIPS_FILE, clip_lines(accepted.clips))
        write_atomic(folder / "README.md", _readme(settings, accepted).encode())
    num_clips = len(accepted.clips)
    return ExportSummary(
        folder=run.clipgt, text=f"{num_clips} clips as ClipGT", metrics={"clips": num_clips}, artifacts=("README.md",)
    )


def _find_problem(scene: Scene) -> str:
    missing = missing_for_clipgt(scene)
    return f"no {missing}" if missing else ""


def _readme(settings: ExportSettings, accepted: AcceptedClips) -> str:
    clips, example = accepted.clips, accepted.clips[0].scene
    frames = sum(clip.scene.num_frames for clip in clips)
    return f"""# {settings.name}

{len(clips)} driving clips ({frames} frames) as ClipGT, the world-scenario parquet of NVIDIA's driving models.

{accepted.describe()}

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

```python
import pyarrow.parquet as pq

boxes = pq.read_table("{example.clip_id}/{example.clip_id}.obstacle.parquet").to_pylist()
```

To generate from these scenes again:

```sh
driveforge generate data=clipgt data.root=DIR data.cameras=[{example.cameras[0].name}] run_dir=runs/again
```
"""
