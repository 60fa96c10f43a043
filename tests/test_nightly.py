"""The shipped nightly job, three nights in a row: the first starts from the base, the others from the champion."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from driveforge.datasets.folder_source import write_clip_folder
from driveforge.datasets.scene import Clip
from driveforge.finetune.evaluation.results import read_evaluations
from driveforge.finetune.world_model.model import compute_model_digest
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.registry.models import BASE
from driveforge.pipelines.registry.versions import CANDIDATE, CHAMPION, open_registry
from tests.pipelines.scenes import driving_scene

SCRIPT = Path(__file__).parents[1] / "examples" / "nightly.sh"
SMALL = [
    "data=video",
    "data.height=32",
    "data.width=48",
    "data.num_frames=9",
    "data.stride=9",
    "replay.num_scenes=4",
    "replay.domains=[orbit]",
    "finetune.steps=1",
    "finetune.batch_size=1",
    "evaluate.domains=[orbit]",
    "evaluate.clips_per_domain=2",
]


def write_clips(root: Path, prefix: str) -> None:
    for number in range(2):
        scene = driving_scene(f"{prefix}-{number}", num_frames=9)
        camera = scene.cameras[0]
        frames = np.random.default_rng(number).integers(0, 255, (1, 9, camera.height, camera.width, 3), np.uint8)
        write_clip_folder(root, Clip(scene=scene, frames=frames))


def night(tmp_path: Path, name: str, *overrides: str) -> "subprocess.CompletedProcess[str]":
    # Like cron: a minimal PATH, and another working directory.
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    environment |= {"RUN": str(tmp_path / "runs" / name), "FOOTAGE": str(tmp_path / "held-out")}
    return subprocess.run(
        [str(SCRIPT), *SMALL, f"data.root={tmp_path / 'driving'}", *overrides],
        capture_output=True, text=True, env=environment, cwd="/",
    )  # fmt: skip


def test_without_data_nothing_is_created(tmp_path: Path) -> None:
    result = subprocess.run(
        [str(SCRIPT)], capture_output=True, text=True, env=os.environ | {"RUN": str(tmp_path / "a")}
    )
    assert result.returncode not in (0, 1, 2) or "give data.root=DIR" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_three_nights(tmp_path: Path) -> None:
    write_clips(tmp_path / "driving", "train")
    write_clips(tmp_path / "held-out", "held")
    config = compose([f"run_dir={tmp_path / 'runs' / 'first'}"])
    champions: list[str] = []
    for name in ("first", "second", "third"):
        result = night(tmp_path, name, f"finetune.seed={len(champions)}")
        assert result.returncode in (0, 1), result.stderr
        run, model = tmp_path / "runs" / name, tmp_path / "runs" / name / "model"
        start = champions[-1] if champions else compute_model_digest(BASE)
        assert json.loads((model / "lineage.json").read_text())["base"] == start
        evaluation = read_evaluations(run / "evaluation.parquet")
        assert {digest for _, digest in evaluation} == {start, compute_model_digest(BASE), compute_model_digest(model)}
        domains = {value.domain for values in evaluation.values() for value in values.values}
        assert domains == {"driving-day", "orbit"}, "driving is held-out footage, the other domain is simulated"
        registry = open_registry(config.run, config.tracking, config.promote.registered_as)
        candidate, champion = registry.alias(CANDIDATE), registry.alias(CHAMPION)
        assert candidate is not None and candidate.digest == compute_model_digest(model)
        if champion is None or champion.digest != candidate.digest:  # one step gives no significant improvement
            registry.set_champion(candidate, champion)
        champions.append(candidate.digest)
    assert len(set(champions)) == 3
