import hashlib
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets.errors import UserError
from datasets.scene import Clip
from finetune.world_model import WorldModel, WorldModelConfig
from pipelines.generate import generate, main
from pipelines.generation.candidates import iter_candidates
from pipelines.generation.commit import CommitLog
from pipelines.settings.compose import compose
from tests.pipelines.generating import NUM_UNITS, executor, generate_small, small_plan
from tests.pipelines.generators import FakeGenerator

ROOT = Path(__file__).resolve().parents[2]
# Children of fork are killed for real, and need not import everything again.
FORK = multiprocessing.get_context("fork")


def committed(root: Path) -> dict[str, tuple[str, ...]]:
    """sha256 of the tar and its keys, by unit."""
    markers = CommitLog(root).markers()
    for marker in markers:
        assert hashlib.sha256((root / marker.tar).read_bytes()).hexdigest() == marker.sha256
    return {marker.unit: (marker.sha256, *marker.keys) for marker in markers}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, ...]]:
    root = tmp_path_factory.mktemp("uninterrupted")
    child = FORK.Process(target=generate_small, args=(root,))
    child.start()
    child.join()
    assert child.exitcode == 0
    return committed(root)


def test_every_planned_clip_is_committed_with_its_story(tmp_path: Path) -> None:
    summary = generate_small(tmp_path)
    plan = small_plan(tmp_path)
    requests = [request for unit in plan.units for request in unit.requests]
    candidates = list(iter_candidates(tmp_path))
    assert (summary.made, summary.committed, summary.failed, summary.plan) == (12, 12, {}, plan.id)
    assert [c.clip_id for c in candidates] == [r.scene.clip_id for r in requests]
    for candidate, request in zip(candidates, requests, strict=True):
        assert candidate.metadata["request"] == request.id
        assert candidate.metadata["edit"] == request.edit
        assert candidate.metadata["model"] == "fake-1"
        assert candidate.metadata["provenance"]["recording"] == "by hand"
        assert candidate.measures.clip_id == candidate.clip_id
    clip = candidates[0].load()
    assert isinstance(clip, Clip)
    np.testing.assert_array_equal(clip.scene.ego_to_world, requests[0].scene.ego_to_world)


def test_a_finished_run_makes_nothing_again(tmp_path: Path) -> None:
    generate_small(tmp_path)
    before = committed(tmp_path)
    assert generate_small(tmp_path).made == 0
    assert committed(tmp_path) == before


@pytest.mark.parametrize("seed", range(3))
def test_killed_anywhere_and_run_again_it_ends_with_the_same_clips(
    tmp_path: Path, uninterrupted: dict[str, tuple[str, ...]], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, scratch = tmp_path / "candidates", tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    rng = random.Random(seed)
    kills = 0
    while True:
        child = FORK.Process(target=generate_small, args=(root, "local", 0.01))
        child.start()
        child.join(rng.uniform(0.0, 0.1 * 1.2**kills))  # in the end long enough, however slow the machine
        if child.exitcode is not None:
            break
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        kills += 1
        assert committed(root).items() <= uninterrupted.items()
    assert kills >= 2, "the run was too fast to be interrupted"
    assert committed(root) == uninterrupted


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_driver_of_ray_workers_is_killed_and_run_again(
    tmp_path: Path, uninterrupted: dict[str, tuple[str, ...]]
) -> None:
    command = [sys.executable, "-m", "tests.pipelines.generating", str(tmp_path), "ray"]
    driver = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 200
    while not list(tmp_path.glob("_commits/*.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    driver.kill()
    driver.wait()
    assert 0 < len(committed(tmp_path)) < NUM_UNITS
    subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True, timeout=250)
    assert committed(tmp_path) == uninterrupted


class PoisonedGenerator(FakeGenerator):
    def generate(self, scene, first_frames, *, seed, settings):  # type: ignore[no-untyped-def]
        if "scene-1" in scene.clip_id and "dusk" in scene.clip_id:
            raise RuntimeError(f"cannot make {scene.clip_id}")
        return super().generate(scene, first_frames, seed=seed, settings=settings)


def test_a_unit_that_fails_is_set_aside_and_made_by_a_later_run(
    tmp_path: Path, uninterrupted: dict[str, tuple[str, ...]]
) -> None:
    summary = generate(tmp_path, small_plan(tmp_path), PoisonedGenerator, executor())
    assert len(summary.failed) == 1
    assert summary.committed == 10
    (note,) = CommitLog(tmp_path).quarantined().values()
    assert "cannot make scene-1" in note
    assert generate_small(tmp_path).made == 2
    assert CommitLog(tmp_path).quarantined() == {}
    assert committed(tmp_path) == uninterrupted


def test_another_model_than_the_planned_one_commits_nothing(tmp_path: Path) -> None:
    summary = generate(tmp_path, small_plan(tmp_path), partial(FakeGenerator, "fake-2"), executor())
    assert summary.committed == 0
    assert "planned for model fake-1" in next(iter(summary.failed.values()))


def test_a_configuration_is_enough(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tiny = WorldModelConfig(latent_channels=4, patch_size=8, num_layers=1, num_heads=1, head_dim=24, ffn_dim=32)
    WorldModel.make(tiny).save_pretrained(tmp_path / "model")
    overrides = ["data.height=32", "data.width=48", "data.num_frames=5", "data.num_scenes=4", "generate.num_steps=1"]
    config = compose([f"run_dir={tmp_path}", "generate.num_clips=3", "generate.clips_per_unit=2", *overrides])
    assert main(config, Namespace()) == 0
    candidates = list(iter_candidates(tmp_path / "candidates"))
    assert len(candidates) == 3
    assert {c.metadata["edit"] for c in candidates} <= set(config.generate.edits)
    assert candidates[0].load().frames.shape == (1, 5, 32, 48, 3)
    assert main(config, Namespace()) == 0
    with pytest.raises(UserError, match="holds another plan"):
        main(compose([f"run_dir={tmp_path}", "generate.num_clips=4", *overrides]), Namespace())
