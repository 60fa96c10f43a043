"""Screening of scenes by their frames: near-duplicates of each other, and leaks across splits."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.scene import Clip, Scene
from driveforge.pipelines.generate.plan.screening import SceneScreening
from tests.pipelines.scenes import driving_scene
from tests.pipelines.small_plans import SETTINGS


class Footage:
    """A source whose clips start at frame ``step`` times the number at the end of their id, each with its own noise."""

    skipped: Sequence[str] = ()

    def __init__(self, *scenes: Scene, rendered: bool = False, step: int = 100) -> None:
        self._scenes, self._rendered, self._step, self.num_loaded = scenes, rendered, step, 0

    def __len__(self) -> int:
        return len(self._scenes)

    def scenes(self) -> Sequence[Scene]:
        return self._scenes

    def load(self, scene: Scene) -> Clip:
        self.num_loaded += 1
        number = int(scene.clip_id.rpartition("-")[2])
        frames = [_image(self._step * number + t) for t in range(scene.num_frames)]
        noise = np.random.default_rng(len(scene.clip_id)).integers(0, 4, (1, scene.num_frames, 48, 80, 3), np.uint8)
        return Clip(scene=scene, frames=np.minimum(np.stack(frames)[None], 250) + noise)

    def files(self, scene: Scene) -> Sequence[Path]:
        return () if self._rendered else (Path(f"{scene.clip_id}.mp4"),)


def _image(seed: int) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(seed).integers(0, 250, (12, 20, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (80, 48), interpolation=cv2.INTER_CUBIC), np.uint8)


def screen(root: Path, source: Footage, held_out: Sequence[Scene] = (), *, is_on: bool = True) -> SceneScreening:
    return SceneScreening(source, root, SETTINGS, held_out, is_on=is_on)


def test_a_scene_with_the_frames_of_another_is_left_out(tmp_path: Path) -> None:
    scenes = [driving_scene(name) for name in ("a-1", "b-2", "copy-of-a-1")]
    source = Footage(*scenes)
    screening = screen(tmp_path, source)
    assert [bool(screening.refusal(scene)) for scene in scenes] == [False, False, True]
    assert "near-duplicate" in screening.refusal(scenes[2])
    assert screening.screened.duplicates == ["copy-of-a-1"] and not screening.screened.leaks
    assert screening.store_first_frames(scenes[0]).endswith(".npy")
    assert source.num_loaded == 3, "every clip is read once"
    assert len(list((tmp_path / "source_frames").iterdir())) == 3


def test_a_clip_that_overlaps_another_is_left_out(tmp_path: Path) -> None:
    """Clips of nine frames that start at frames 100, 103 and 108 of one recording."""
    scenes = [driving_scene("a-100"), driving_scene("b-103"), driving_scene("c-108")]
    screening = screen(tmp_path, Footage(*scenes, step=1))
    assert [bool(screening.refusal(scene)) for scene in scenes] == [False, True, False]


def test_a_scene_with_frames_of_an_evaluation_split_is_left_out(tmp_path: Path) -> None:
    train = [driving_scene("a-1"), driving_scene("b-2")]
    val = [replace(driving_scene(f"val-{n}"), split="val") for n in (2, 3)]
    screening = screen(tmp_path, Footage(*train, *val), val)
    assert [screening.refusal(scene) for scene in train] == ["", "b-2 shows frames of an evaluation split"]
    assert screening.screened.leaks == ["b-2"] and screening.screened.num_compared == 2


def test_no_more_evaluation_scenes_are_read_than_the_plan_can_use(tmp_path: Path) -> None:
    scene, val = driving_scene("a-1"), [replace(driving_scene(f"val-{n}"), split="val") for n in range(10, 90)]
    source = Footage(scene, *val)
    screening = screen(tmp_path, source, val)
    assert screening.refusal(scene) == "" and source.num_loaded == 1 + SETTINGS.num_clips
    assert (screening.screened.num_compared, screening.screened.num_held_out) == (SETTINGS.num_clips, 80)


def test_an_image_of_an_evaluation_split_is_found_by_its_token(tmp_path: Path) -> None:
    def with_token(scene: Scene, token: str) -> Scene:
        return replace(scene, cameras=tuple(replace(c, image_tokens=(token,) * 9) for c in scene.cameras))

    val = [with_token(replace(driving_scene("val-5"), split="val"), "t")]
    scenes = [with_token(driving_scene("a-1"), "t"), with_token(driving_scene("b-2"), "")]
    screening = screen(tmp_path, Footage(*scenes, *val), val)
    assert [bool(screening.refusal(scene)) for scene in scenes] == [True, False]


def test_rendered_scenes_and_those_that_nobody_asked_for_are_not_compared(tmp_path: Path) -> None:
    twins = [driving_scene("a-1"), driving_scene("b-1")]
    for source, is_on in ((Footage(*twins, rendered=True), True), (Footage(*twins), False)):
        screening = screen(tmp_path, source, is_on=is_on)
        assert [screening.refusal(scene) for scene in twins] == ["", ""] and source.num_loaded == 0
