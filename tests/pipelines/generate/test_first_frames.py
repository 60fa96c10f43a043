"""Clips continue some recorded frames, or none, as the model's codec allows."""

from argparse import Namespace
from pathlib import Path

import pytest
import torch

from driveforge.datasets.errors import UserError
from driveforge.finetune.world_model.families.tiny import TinyConfig, TinyWorldModel
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.generate.candidates import iter_candidates
from driveforge.pipelines.generate.command import main
from driveforge.pipelines.generate.select import require_generable, select_generator
from tests.finetune.released_checkpoints import make_wan

SMALL = ("data.height=32", "data.width=48", "data.num_frames=5", "data.num_scenes=4", "generate.num_clips=2")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    tiny = TinyConfig(latent_channels=4, patch_size=8, num_layers=1, num_heads=1, head_dim=24, ffn_dim=32)
    folder = tmp_path_factory.mktemp("model") / "tiny"
    TinyWorldModel.from_config(tiny).save_pretrained(folder)
    return folder


def settings(model: Path, run_dir: Path, *overrides: str) -> Config:
    return compose(
        [f"run_dir={run_dir}", f"model.checkpoint={model}", "generate.edits=[as-recorded]", *SMALL, *overrides]
    )


@pytest.mark.parametrize("count", [0, 3])
def test_a_clip_continues_as_many_frames_as_the_settings_say(count: int, model: Path, tmp_path: Path) -> None:
    config = settings(model, tmp_path, f"generate.num_first_frames={count}", "generate.sampler.num_steps=1")
    assert main(config, Namespace()) == 0
    stored = {candidate.metadata["first_frames"] for candidate in iter_candidates(tmp_path / "candidates")}
    assert stored == {""} if count == 0 else "" not in stored
    steps = {candidate.metadata["settings"]["num_steps"] for candidate in iter_candidates(tmp_path / "candidates")}
    without = config.generate.sampler_without_frame.num_steps
    assert steps == {without if count == 0 else 1}, "without frames the other sampler is used"


def test_frames_that_end_within_a_latent_frame_are_refused(tmp_path: Path) -> None:
    folder = make_wan(tmp_path / "wan", "t2v")
    for count, message in ((1, ""), (5, ""), (3, "ends within a latent frame: the model takes 0 or 1 \\+ 4k frames")):
        config = settings(folder, tmp_path / "run", f"generate.num_first_frames={count}")
        if not message:
            require_generable(select_generator(config), [], config.generate)
            continue
        with pytest.raises(UserError, match=message):
            require_generable(select_generator(config), [], config.generate)


def test_long_clips_are_generated_and_measured(model: Path, tmp_path: Path) -> None:
    changes = ["data.num_frames=69", "generate.sampler.chunk_frames=37", "generate.sampler.num_steps=1"]
    config = settings(model, tmp_path, *changes, "generate.sampler.inpaint_steps=0", "generate.num_clips=1")
    assert main(config, Namespace()) == 0
    (candidate,) = iter_candidates(tmp_path / "candidates")
    assert candidate.metadata["settings"]["chunk_frames"] == 37
    assert candidate.load().frames.shape == (1, 69, 32, 48, 3), "more frames than the model takes at once"
    assert candidate.measures.values


def test_chunks_that_the_model_cannot_generate_are_refused(model: Path, tmp_path: Path) -> None:
    for change, message in (
        ("generate.sampler.chunk_frames=65", "chunk_frames must be 1 \\+ 4k frames up to 61 for this model, got 65"),
        (
            "generate.sampler_without_frame.overlap_frames=17",
            "overlap_frames must be .* fewer than the 17 of a chunk, got 17",
        ),
        ("generate.num_first_frames=17", "leaves nothing of a chunk of 17 frames"),
    ):
        config = settings(model, tmp_path, "data.num_frames=69", change)
        with pytest.raises(UserError, match=message):
            require_generable(select_generator(config), [], config.generate)


def test_frames_that_contradict_an_edit_are_refused(model: Path, tmp_path: Path) -> None:
    config = settings(model, tmp_path, "generate.num_first_frames=2", "generate.edits=[as-recorded, slower, dusk]")
    with pytest.raises(UserError, match="recorded frames do not move as the edits slower command"):
        require_generable(select_generator(config), [], config.generate)
