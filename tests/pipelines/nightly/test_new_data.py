"""New data is found by content."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from driveforge.datasets.folder_source import write_clip_folder
from driveforge.datasets.scene import Clip
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.nightly.new_data import TrainingClips, find_training_clips
from tests.pipelines.scenes import driving_scene

FRAMING = ["data.height=32", "data.width=48", "data.num_frames=9", "data.stride=9"]


def write_clip(root: Path, name: str, *, seed: int, split: str = "train", speed: float = 8.0) -> None:
    scene = driving_scene(name, num_frames=9, speed=speed)
    camera = scene.cameras[0]
    frames = np.random.default_rng(seed).integers(0, 255, (1, 9, camera.height, camera.width, 3), np.uint8)
    write_clip_folder(root, Clip(scene=scene, frames=frames).with_scene(split=split))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in range(3):
        write_clip(tmp_path / "driving", f"clip-{number}", seed=number)
    return tmp_path / "driving"


def find(root: Path) -> TrainingClips:
    data = compose(["data=video", f"data.root={root}", *FRAMING]).data
    return find_training_clips(data, root.parent / "digests")


def test_the_same_content_is_not_new_wherever_it_is(root: Path, tmp_path: Path) -> None:
    before = find(root)
    assert len(before.digests) == 3
    for path in root.rglob("*.mp4"):
        os.utime(path, (0, 0))
    moved = tmp_path / "elsewhere" / "drives"
    shutil.copytree(root, moved)
    assert find(root) == before and find(moved).digest == before.digest
    assert find(moved).count_new(set(before.digests)) == 0


def test_a_new_clip_and_a_replaced_one_are_new(root: Path) -> None:
    before = find(root)
    write_clip(root, "clip-3", seed=3)
    assert find(root).count_new(set(before.digests)) == 1
    shutil.rmtree(root / "clip-0")
    write_clip(root, "clip-0", seed=10)
    after = find(root)
    assert after.count_new(set(before.digests)) == 2 and after.digest != before.digest


def test_changed_annotations_are_new(root: Path) -> None:
    before = find(root)
    shutil.rmtree(root / "clip-0")
    write_clip(root, "clip-0", seed=0, speed=9.0)
    assert find(root).count_new(set(before.digests)) == 1


def test_held_out_clips_and_removed_ones_are_not_new(root: Path) -> None:
    before = find(root)
    write_clip(root, "clip-4", seed=4, split="val")
    shutil.rmtree(root / "clip-1")
    after = find(root)
    assert after.count_new(set(before.digests)) == 0 and len(after.digests) == 2
