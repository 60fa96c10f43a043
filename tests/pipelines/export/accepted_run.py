"""Run folders with committed clips and a verdict for each, without a model."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from driveforge.datasets.scene import Clip, Scene
from driveforge.datasets.webdataset_shards.format import clip_members
from driveforge.datasets.webdataset_shards.tarball import write_tar
from driveforge.pipelines.generate.commit import CommitLog
from driveforge.pipelines.run_dir import RunDir
from driveforge.pipelines.validate.gate import write_verdict_rows
from tests.datasets.nuscenes.world import small_frame


def write_run(run_dir: Path, scenes: Sequence[Scene], rejected: Sequence[str] = ()) -> RunDir:
    """A run with one unit of clips of ``scenes``, all accepted but ``rejected``."""
    run_dir.mkdir(exist_ok=True)
    log = CommitLog(run_dir / "candidates")
    samples = [(scene.clip_id, clip_members(clip_of(scene), {})) for scene in scenes]
    log.commit("u-0", write_tar(run_dir / "scratch.tar", samples).path)
    (run_dir / "scratch.tar").unlink()
    (marker,) = log.read_markers()
    states = {scene.clip_id: "rejected" if scene.clip_id in rejected else "accepted" for scene in scenes}
    rows = [
        {"clip_id": clip_id, "state": state, "gate_state": state, "reasons": [], "calibration": "known-good"}
        | {"edit": "none", "seed": 1, "model": "abc123", "unit": "u-0", "tar": marker.tar}
        for clip_id, state in states.items()
    ]
    write_verdict_rows(RunDir(run_dir).verdicts, rows)
    return RunDir(run_dir)


def clip_of(scene: Scene) -> Clip:
    views = range(len(scene.cameras))
    return Clip(scene=scene, frames=np.stack([[small_frame(v, t) for t in range(scene.num_frames)] for v in views]))
