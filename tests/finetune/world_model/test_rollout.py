"""Long clips in overlapping chunks: which frames a chunk has, what it is given, and that short clips do not change."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from driveforge.datasets.errors import UserError
from driveforge.datasets.geometry import pose
from driveforge.datasets.scene import Clip, Scene
from driveforge.datasets.select_frames import select_frames
from driveforge.finetune.world_model.clip_encoder import Anchor
from driveforge.finetune.world_model.families.tiny import TinyWorldModel
from driveforge.finetune.world_model.generator import WorldModelGenerator
from driveforge.finetune.world_model.limits import ClipLimits
from driveforge.finetune.world_model.rollout import (
    Chunk,
    derive_chunk_seed,
    plan_chunks,
    require_chunks,
    roll_out,
    warp_anchor,
)
from tests.defaults import sampler_settings

Frames = NDArray[np.uint8]
QUICK = sampler_settings(num_steps=1, inpaint_steps=0, guidance_scale=1.0, chunk_frames=5, overlap_frames=1)


def lengthen(scene: Scene, num_frames: int, speed: float = 8.0) -> Scene:
    """``scene`` with more frames at 10 Hz, straight ahead at ``speed`` m/s, without objects."""
    times = np.arange(num_frames) * 0.1
    position = np.stack([speed * times, 0 * times, 0 * times], -1)
    return replace(scene, timestamps=times, ego_to_world=pose(np.eye(3), position), tracks=())


@pytest.fixture
def generator(model: TinyWorldModel, tmp_path: Path) -> WorldModelGenerator:
    model.save_pretrained(tmp_path / "model")
    return WorldModelGenerator.load(tmp_path / "model")


@pytest.mark.parametrize(
    ("num_frames", "chunk_frames", "overlap", "expected"),
    [
        (17, 17, 5, [(0, 17, 0)]),
        (9, 17, 5, [(0, 9, 0)]),
        (29, 17, 5, [(0, 17, 0), (12, 29, 5)]),
        (33, 17, 5, [(0, 17, 0), (12, 29, 5), (16, 33, 13)]),
        (33, 17, 1, [(0, 17, 0), (16, 33, 1)]),
    ],
)
def test_chunks_overlap_and_end_with_the_clip(
    num_frames: int, chunk_frames: int, overlap: int, expected: list[tuple[int, int, int]]
) -> None:
    chunks = plan_chunks(num_frames, chunk_frames, overlap)
    assert [(chunk.start, chunk.stop, chunk.num_given) for chunk in chunks] == expected


def test_every_frame_is_generated_once_and_given_frames_end_with_a_latent_frame() -> None:
    for num_frames in range(21, 261, 4):
        chunks = plan_chunks(num_frames, 17, 5)
        new = np.concatenate([chunk.frames[chunk.num_given :] for chunk in chunks])
        assert np.array_equal(new, np.arange(num_frames))
        assert all(len(chunk.frames) == 17 and chunk.num_given % 4 == 1 for chunk in chunks[1:])


def test_seeds_of_chunks_differ_and_the_first_is_that_of_the_clip() -> None:
    seeds = [derive_chunk_seed(seed, number) for seed in (0, 1) for number in range(20)]
    assert len(set(seeds)) == 40 and seeds[0] == 0 and seeds[20] == 1
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_chunk_is_given_the_last_frames_of_the_one_before(scene: Scene) -> None:
    long = lengthen(scene, 13)
    calls: list[tuple[Scene, Frames | None]] = []

    def make(chunk: Chunk, part: Scene, given: Frames | None, anchor: Anchor | None) -> Frames:
        calls.append((part, given))
        assert anchor is None, "there is no recorded frame"
        values = (100 * chunk.number + chunk.frames).astype(np.uint8)
        return np.broadcast_to(values[None, :, None, None, None], (1, len(values), 2, 2, 3))

    frames = roll_out(long, None, plan_chunks(13, 9, 5), 0.5, make)
    assert frames[0, :, 0, 0, 0].tolist() == [*range(9), *range(109, 113)]
    (first, none), (second, given) = calls
    assert none is None and given is not None
    assert given[0, :, 0, 0, 0].tolist() == [4, 5, 6, 7, 8]
    assert np.array_equal(first.timestamps, long.timestamps[:9]) and second.ego_to_world is not None
    assert np.array_equal(second.ego_to_world, long.ego_to_world[4:])  # type: ignore[index]


def test_the_anchor_is_used_while_the_first_frame_covers_the_view(scene: Scene) -> None:
    image = np.random.default_rng(0).integers(0, 255, (1, 32, 48, 3), np.uint8)
    slow, fast = lengthen(scene, 33, speed=0.2), lengthen(scene, 33, speed=60.0)
    chunk = Chunk(number=2, start=24, stop=33, num_given=1)
    anchor = warp_anchor(slow, image, chunk, 0.5)
    assert anchor is not None and anchor.mask.shape == (1, 9, 32, 48)
    assert (anchor.mask.mean((2, 3)) >= 0.5).all()
    assert warp_anchor(fast, image, chunk, 0.5) is None, "after 144 m nothing of the first view is left"
    assert warp_anchor(replace(slow, ego_to_world=None), image, chunk, 0.5) is None


def test_an_anchor_replaces_what_is_warped_from_the_context_but_not_the_context(
    model: TinyWorldModel, clip: Clip
) -> None:
    white = np.full(clip.frames.shape, 255, np.uint8)
    mask = np.zeros(clip.frames.shape[:-1], np.bool_)
    mask[..., :24] = True
    plain = model.encoder.encode_conditions(clip.scene, clip.frames)
    anchored = model.encoder.encode_conditions(clip.scene, clip.frames, 1, Anchor(frames=white, mask=mask))
    changed = (anchored.warped != plain.warped).any(0)
    assert not changed[0].any(), "context frames stay"
    assert changed[1:, :, :3].all() and not changed[1:, :, -1].any()
    assert (anchored.mask[1, :, :, :3] == 1).all(), "its cells count as warped"


def test_a_clip_of_one_chunk_and_the_first_chunk_have_the_same_frames(
    generator: WorldModelGenerator, clip: Clip
) -> None:
    long = lengthen(clip.scene, 13)
    first = clip.frames[:, :1]
    whole = generator.generate(long, first, seed=1, settings=QUICK).frames
    assert whole.shape == (1, 13, 32, 48, 3)
    short = generator.generate(select_frames(long, np.arange(5)), first, seed=1, settings=QUICK).frames
    assert np.array_equal(whole[:, :5], short)
    assert np.array_equal(whole, generator.generate(long, first, seed=1, settings=QUICK).frames)
    assert not np.array_equal(whole[:, 5:9], whole[:, 9:13]), "chunks have their own noise"
    at_once = generator.generate(long, first, seed=1, settings=replace(QUICK, chunk_frames=13)).frames
    assert not np.array_equal(whole[:, 5:], at_once[:, 5:])


def test_noise_in_given_frames_and_the_anchor_are_for_later_chunks(generator: WorldModelGenerator, clip: Clip) -> None:
    long, first = lengthen(clip.scene, 9, speed=0.2), clip.frames[:, :1]
    plain = generator.generate(long, first, seed=1, settings=QUICK).frames
    for changes in ({"context_noise": 0.3}, {"anchor_share": 0.2}):
        changed = generator.generate(long, first, seed=1, settings=replace(QUICK, **changes)).frames  # type: ignore[arg-type]
        assert np.array_equal(changed[:, :5], plain[:, :5]), changes
        assert not np.array_equal(changed[:, 5:], plain[:, 5:]), changes


def test_a_model_generates_as_many_frames_at_once_as_it_was_trained_on(
    generator: WorldModelGenerator, clip: Clip, tmp_path: Path
) -> None:
    long, first = lengthen(clip.scene, 13), clip.frames[:, :1]
    as_trained = replace(QUICK, chunk_frames=None)
    generator.model.trained_frames = 5
    generator.model.save_pretrained(tmp_path / "short")
    short = WorldModelGenerator.load(tmp_path / "short")
    made = short.generate(long, first, seed=1, settings=as_trained).frames
    assert np.array_equal(made, short.generate(long, first, seed=1, settings=QUICK).frames)


LIMITS = ClipLimits(frame_step=4, max_frames=81, side_step=16, max_side=1024, trained_frames=17, temporal_stride=4)


@pytest.mark.parametrize(
    ("changes", "given", "message"),
    [
        ({}, 1, ""),
        ({"chunk_frames": 81, "overlap_frames": 9}, 17, ""),
        ({"chunk_frames": 18}, 1, "chunk_frames must be 1 \\+ 4k frames up to 81 for this model, got 18"),
        ({"chunk_frames": 85}, 1, "got 85"),
        ({"overlap_frames": 3}, 1, "overlap_frames must be 1 \\+ 4k for this model"),
        ({"overlap_frames": 17}, 1, "fewer than the 17 of a chunk"),
        ({}, 17, "generate.num_first_frames=17 leaves nothing"),
    ],
)
def test_chunks_that_the_model_cannot_generate_are_refused(changes: dict[str, int], given: int, message: str) -> None:
    settings = sampler_settings(**{"overlap_frames": 5} | changes)
    if not message:
        return require_chunks(settings, given, LIMITS)
    with pytest.raises(UserError, match=message):
        require_chunks(settings, given, LIMITS)


def test_settings_of_chunks_are_checked() -> None:
    with pytest.raises(UserError, match="overlap_frames must be at least 1 and fewer than the 5 chunk_frames, got 5"):
        sampler_settings(chunk_frames=5, overlap_frames=5)
    with pytest.raises(UserError, match="context_noise must be at least 0 and below 1, got 1"):
        sampler_settings(context_noise=1.0)
