"""Shards of simulated scenes have depth and instance masks; those of other scenes do not."""

import io
from pathlib import Path

import numpy as np

from driveforge.datasets.edits import edit_scene
from driveforge.datasets.scene import Clip
from driveforge.datasets.webdataset_shards.tar_samples import read_members, scan_tar
from driveforge.pipelines.export.command import export
from driveforge.pipelines.export.verify import verify
from driveforge.pipelines.inputs.sources import open_source
from tests.pipelines.export.accepted_runs import accepted_run

DATA = ("data.num_scenes=4", "data.num_frames=5", "data.height=32", "data.width=48", "data.domains=[driving-day]")


def _members(run_dir: Path, *overrides: str) -> list[dict[str, bytes]]:
    config = accepted_run(run_dir, [], *DATA)
    source = open_source(config.data)
    scenes = [scene if n % 2 else edit_scene(scene, "dusk") for n, scene in enumerate(source.scenes())]
    frames = [source.load(scene).frames for scene in source.scenes()]
    clips = [Clip(scene=scene, frames=pixels) for scene, pixels in zip(scenes, frames, strict=True)]
    config = accepted_run(run_dir / "run", clips, *DATA, *overrides)
    folder = export(config.run, config.export, config.data).folder
    assert verify(folder).ok
    tars = sorted(folder.glob("*.tar"))
    return [read_members(tar, spans) for tar in tars for spans in scan_tar(tar).values()]


def test_clips_of_simulated_scenes_have_them(tmp_path: Path) -> None:
    samples = _members(tmp_path, "export.allow_evaluation_split=true")
    for members in samples:
        depth, instances = (np.load(io.BytesIO(members[name])) for name in ("depth.npz", "instances.npz"))
        assert depth["CAM_FRONT"].shape == instances["CAM_FRONT"].shape == (5, 32, 48)
        assert depth["CAM_FRONT"].dtype == np.uint16 and depth["CAM_FRONT"].max() > 500
    assert len(samples) == 4


def test_clips_of_other_scenes_do_not(tmp_path: Path) -> None:
    samples = _members(tmp_path, "data.seed=9", "export.allow_evaluation_split=true")
    assert len(samples) == 4 and not any("depth.npz" in members for members in samples)
