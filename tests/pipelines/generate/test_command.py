"""Generation with the fake generator, and with a tiny world model."""

import hashlib
import json
from argparse import Namespace
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from numpy.typing import NDArray

from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Clip, Scene
from driveforge.finetune.world_model.families.tiny import TinyConfig, TinyWorldModel
from driveforge.finetune.world_model.sampler_settings import SamplerSettings
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.generate.candidates import iter_candidates
from driveforge.pipelines.generate.command import generate, main
from driveforge.pipelines.generate.commit import CommitLog
from driveforge.pipelines.generate.executors.attempts import AttemptLog
from driveforge.pipelines.generate.units import GenerationPlan
from driveforge.validation.measures import measure
from tests.pipelines.generators import FakeGenerator
from tests.pipelines.small_plans import executor, generate_small, small_plan


def committed(root: Path) -> dict[str, tuple[str, ...]]:
    """The hash of the tar and its keys, by unit."""
    markers = CommitLog(root).read_markers()
    for marker in markers:
        assert hashlib.sha256((root / marker.tar).read_bytes()).hexdigest() == marker.sha256
    return {marker.unit: (marker.sha256, *marker.keys) for marker in markers}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, ...]]:
    root = tmp_path_factory.mktemp("uninterrupted")
    generate_small(root)
    return committed(root)


def test_every_planned_clip_is_committed_with_its_metadata(tmp_path: Path) -> None:
    summary = generate_small(tmp_path)
    plan = small_plan(tmp_path)
    requests = [request for unit in plan.units for request in unit.requests]
    candidates = list(iter_candidates(tmp_path))
    assert (summary.num_made, summary.num_committed, summary.failed, summary.plan) == (12, 12, {}, plan.id)
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


def test_a_candidate_is_measured_as_it_is_exported(tmp_path: Path) -> None:
    plan = small_plan(tmp_path, num_frames=9)
    generate(tmp_path, GenerationPlan(id=plan.id, units=plan.units[:1]), FakeGenerator, executor())
    for candidate in iter_candidates(tmp_path):
        assert any(value.value for value in candidate.measures.values), "some measure has a value"
        assert candidate.measures == measure(candidate.load())


def test_every_key_has_one_type_in_all_candidates(tmp_path: Path) -> None:
    plan = small_plan(tmp_path, num_frames=9)
    generate(tmp_path, plan, FakeGenerator, executor())
    described = [json.loads(candidate.ref.read()["json"]) for candidate in iter_candidates(tmp_path)]
    assert len({record["metadata"]["first_frames"] == "" for record in described}) == 2
    types = pa.Table.from_pylist(described[:1]).schema
    for record in described:
        assert pa.Table.from_pylist([record]).schema.equals(types)


def test_a_finished_run_is_not_repeated(tmp_path: Path) -> None:
    generate_small(tmp_path)
    before = committed(tmp_path)
    assert generate_small(tmp_path).num_made == 0
    assert committed(tmp_path) == before


@pytest.mark.parametrize("workers", [1, 4])
def test_the_number_of_workers_changes_no_byte(
    tmp_path: Path, uninterrupted: dict[str, tuple[str, ...]], workers: int
) -> None:
    generate(tmp_path, small_plan(tmp_path), FakeGenerator, replace(executor(), workers=workers))
    assert committed(tmp_path) == uninterrupted


class PoisonedGenerator(FakeGenerator):
    def generate(
        self, scene: Scene, first_frames: NDArray[np.uint8] | None, *, seed: int, settings: SamplerSettings
    ) -> Clip:
        if "scene-1" in scene.clip_id and "dusk" in scene.clip_id:
            raise RuntimeError(f"cannot make {scene.clip_id}")
        return super().generate(scene, first_frames, seed=seed, settings=settings)


def test_an_attempt_of_a_committed_unit_is_forgotten(tmp_path: Path) -> None:
    generate_small(tmp_path)
    AttemptLog(tmp_path).record_start("unit-000000")
    generate_small(tmp_path)
    assert not list((tmp_path / "_attempts").iterdir())


def test_a_failing_unit_is_quarantined_and_made_by_a_later_run(
    tmp_path: Path, uninterrupted: dict[str, tuple[str, ...]]
) -> None:
    summary = generate(tmp_path, small_plan(tmp_path), PoisonedGenerator, executor())
    assert len(summary.failed) == 1
    assert summary.num_committed == 10
    (reason,) = CommitLog(tmp_path).read_quarantine().values()
    assert "cannot make scene-1" in reason
    assert generate_small(tmp_path).num_made == 2
    assert CommitLog(tmp_path).read_quarantine() == {}
    assert committed(tmp_path) == uninterrupted


def test_a_model_other_than_the_planned_one_commits_nothing(tmp_path: Path) -> None:
    summary = generate(tmp_path, small_plan(tmp_path), partial(FakeGenerator, "fake-2"), executor())
    assert summary.num_committed == 0
    assert "planned for model fake-1" in next(iter(summary.failed.values()))


def test_the_command_generates_with_a_world_model(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tiny = TinyConfig(latent_channels=4, patch_size=8, num_layers=1, num_heads=1, head_dim=24, ffn_dim=32)
    TinyWorldModel.from_config(tiny).save_pretrained(tmp_path / "model")
    overrides = [
        "data.height=32",
        "data.width=48",
        "data.num_frames=5",
        "data.num_scenes=4",
        "generate.sampler.num_steps=1",
    ]
    config = compose([f"run_dir={tmp_path}", "generate.num_clips=3", "generate.clips_per_unit=2", *overrides])
    assert main(config, Namespace()) == 0
    candidates = list(iter_candidates(tmp_path / "candidates"))
    assert len(candidates) == 3
    assert {c.metadata["edit"] for c in candidates} <= set(config.generate.edits)
    assert candidates[0].load().frames.shape == (1, 5, 32, 48, 3)
    assert main(config, Namespace()) == 0
    with pytest.raises(UserError, match="holds another plan"):
        main(compose([f"run_dir={tmp_path}", "generate.num_clips=4", *overrides]), Namespace())
