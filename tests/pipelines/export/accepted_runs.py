"""Small runs with accepted clips."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from driveforge.datasets.scene import Clip, Scene
from driveforge.datasets.webdataset_shards.format import clip_members
from driveforge.datasets.webdataset_shards.tarball import write_tar
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.generate.commit import CommitLog
from driveforge.pipelines.run_dir import RunDir
from driveforge.pipelines.validate.gate import write_verdict_rows
from tests.datasets.nuscenes.world import small_frame


def accepted_run(
    run_dir: Path, clips: Sequence[Clip], *overrides: str, states: Mapping[str, str] | None = None
) -> Config:
    """A run of one unit with ``clips``, accepted unless ``states`` says otherwise by clip id."""
    log, states = CommitLog(run_dir / "candidates"), states or {}
    run_dir.mkdir(exist_ok=True)
    samples = [(clip.scene.clip_id, clip_members(clip, {"seed": 1})) for clip in clips]
    log.commit("u-0", write_tar(run_dir / "scratch.tar", samples).path)
    (marker,) = log.read_markers()
    rows = [_row(clip.scene.clip_id, marker.tar, states.get(clip.scene.clip_id, "accepted")) for clip in clips]
    write_verdict_rows(RunDir(run_dir).verdicts, rows)
    return compose([f"run_dir={run_dir}", *overrides])


def _row(clip_id: str, tar: str, state: str) -> dict[str, Any]:
    return {
        "clip_id": clip_id, "state": state, "gate_state": state, "reasons": [], "calibration": "known-good",
        "edit": "none", "seed": 1, "model": "abc123", "unit": "u-0", "tar": tar,
    }  # fmt: skip


def write_run(run_dir: Path, scenes: Sequence[Scene], rejected: Sequence[str] = ()) -> RunDir:
    """A run of one unit with clips of ``scenes``, all accepted but ``rejected``."""
    states = dict.fromkeys(rejected, "rejected")
    return accepted_run(run_dir, [clip_of(scene) for scene in scenes], states=states).run


def clip_of(scene: Scene) -> Clip:
    views = range(len(scene.cameras))
    return Clip(scene=scene, frames=np.stack([[small_frame(v, t) for t in range(scene.num_frames)] for v in views]))
