"""A small generation plan, and its candidates from the fake generator."""

from functools import partial
from pathlib import Path
from typing import Literal

from driveforge.datasets.scene import Scene
from driveforge.datasets.stores.opening import open_store, share
from driveforge.pipelines.generate.command import GenerationSummary, generate
from driveforge.pipelines.generate.executors.settings import ExecutorSettings
from driveforge.pipelines.generate.plan.planner import SceneInputs, plan_entries
from driveforge.pipelines.generate.requests import (
    FIRST_FRAMES_FOLDER,
    SCENES_FOLDER,
    store_first_frames,
    store_scene,
)
from driveforge.pipelines.generate.settings import GenerateSettings
from driveforge.pipelines.generate.units import PLAN_FILE, GenerationPlan, open_or_create_plan
from tests.defaults import sampler_settings
from tests.pipelines.generators import FakeGenerator, first_frames_of
from tests.pipelines.scenes import driving_scene

SETTINGS = GenerateSettings(
    source_split="train",
    num_first_frames=1,
    num_clips=12,
    clips_per_unit=2,
    edits=("as-recorded", "dusk", "slower", "agent-shifts"),
    balance=(),
    screen_scenes=False,
    retries=(),
    sampler=sampler_settings(num_steps=2, strength=0.7, inpaint_steps=0, guidance_scale=1.0),
    sampler_without_frame=sampler_settings(num_steps=2, strength=1.0, inpaint_steps=0, guidance_scale=1.0),
    seed=5,
)
NUM_UNITS = 6
# Too few frames to measure, so that a clip takes milliseconds.
NUM_FRAMES = 4


def executor(name: Literal["local", "ray"] = "local") -> ExecutorSettings:
    return ExecutorSettings(
        name=name,
        workers=2,
        address=None,
        max_attempts=2,
        timeout_factor=10.0,
        first_timeout=600.0,
        failure_budget=0.0,
        gpus_per_worker=None,
    )


def small_plan(root: Path, num_frames: int = NUM_FRAMES) -> GenerationPlan:
    scenes = [driving_scene(f"scene-{i}", num_frames=num_frames, yaw_rate=0.05 * i) for i in range(3)]
    store = open_store(root)
    store.fetch(PLAN_FILE, again=True)
    planned = plan_entries(scenes, stored_inputs(root), SETTINGS, "fake-1")
    plan = open_or_create_plan(root, (entry for entry, _ in planned), SETTINGS.clips_per_unit)
    assert share(store, PLAN_FILE)
    return plan


def stored_inputs(root: Path) -> SceneInputs:
    """Inputs that are stored under ``root``, and shared with its object store if it is a working copy of one."""
    store = open_store(root)

    def shared(folder: str, name: str) -> str:
        assert share(store, f"{folder}/{name}")
        return name

    def store_frames(scene: Scene) -> str:
        return shared(FIRST_FRAMES_FOLDER, store_first_frames(root / FIRST_FRAMES_FOLDER, first_frames_of(scene)))

    return SceneInputs(
        store_first_frames=store_frames,
        store_scene=lambda _, content: shared(SCENES_FOLDER, store_scene(root / SCENES_FOLDER, content)),
    )


def generate_small(root: Path, name: Literal["local", "ray"] = "local", seconds: float = 0.0) -> GenerationSummary:
    return generate(root, small_plan(root), partial(FakeGenerator, seconds=seconds), executor(name))
