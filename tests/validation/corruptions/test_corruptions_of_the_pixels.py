"""Corruptions of pixels have the requested strength and place."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driveforge.datasets.conditioning.layout import category_color
from driveforge.datasets.geometry import pose
from driveforge.datasets.scene import Clip
from driveforge.validation.corruptions.catalog import corrupt
from driveforge.validation.corruptions.requirements import CorruptionNotApplicable
from driveforge.validation.views.boxes import project_boxes
from driveforge.validation.views.view import reference_view
from tests.validation.corruption_clips import gray, laid_out, numbered, numbers, ramps
from tests.validation.street import commanded_box, street

seeds = st.integers(0, 2**32 - 1)
many = settings(max_examples=50, deadline=None)
few = settings(max_examples=5, deadline=None)
FRAMES = list(range(20))


def shown(corruption_type: str, strength: float, seed: int, other: Clip | None = None) -> list[int]:
    """The numbers of the frames that are shown instead of 0 to 19."""
    return numbers(corrupt(numbered(20), corruption_type, strength, seed=seed, other=other))


@many
@given(held=st.integers(1, 18), seed=seeds)
def test_freeze(held: int, seed: int) -> None:
    order = shown("freeze", held, seed)
    start = next(t for t in FRAMES if order[t + 1] == order[t])
    assert order == [*range(start + 1), *[start] * held, *range(start + held + 1, 20)]


@many
@given(repeats=st.integers(1, 10), seed=seeds)
def test_stutter(repeats: int, seed: int) -> None:
    order = shown("stutter", repeats, seed)
    assert sum(a == b for a, b in pairwise(order)) == repeats
    assert all(t - order[t] in (0, 1) for t in FRAMES)


@many
@given(pairs=st.integers(1, 10), seed=seeds)
def test_swap(pairs: int, seed: int) -> None:
    order = shown("swap", pairs, seed)
    assert sorted(order) == FRAMES
    assert sum(order[t] == t + 1 and order[t + 1] == t for t in FRAMES[:-1]) == pairs
    assert sum(order[t] != t for t in FRAMES) == 2 * pairs


@many
@given(window=st.integers(2, 20), seed=seeds)
def test_shuffle(window: int, seed: int) -> None:
    order = shown("shuffle", window, seed)
    moved = [t for t in FRAMES if order[t] != t]
    assert sorted(order) == FRAMES
    assert moved == list(range(moved[0], moved[0] + window))


@many
@given(gone=st.integers(1, 16), seed=seeds)
def test_skip(gone: int, seed: int) -> None:
    corrupted = corrupt(numbered(20), "skip", gone, seed=seed)
    steps = np.diff(numbers(corrupted))
    assert corrupted.scene.num_frames == 20 - gone
    assert sorted(steps) == [1] * (18 - gone) + [1 + gone]
    np.testing.assert_allclose(np.diff(corrupted.scene.timestamps), 0.1)


@many
@given(percent=st.sampled_from([25, 50, 75, 100]), seed=seeds)
def test_reverse(percent: int, seed: int) -> None:
    order = shown("reverse", percent, seed)
    backwards = [t for t in range(19) if order[t + 1] == order[t] - 1]
    assert sorted(order) == FRAMES
    assert len(backwards) == 20 * percent // 100 - 1
    assert backwards == list(range(backwards[0], backwards[0] + len(backwards)))


@many
@given(percent=st.sampled_from([5, 25, 50, 100]), seed=seeds)
def test_cut(percent: int, seed: int) -> None:
    other = numbered(25, first=100)
    order = shown("cut", percent, seed, other)
    count = percent // 5
    assert order[: 20 - count] == FRAMES[: 20 - count]
    assert order[20 - count :] == list(range(order[20 - count], order[20 - count] + count))
    assert 100 <= order[20 - count] <= order[-1] < 125


def test_a_cut_goes_to_a_clip_of_another_size_but_not_to_a_shorter_one() -> None:
    corrupted = corrupt(numbered(20), "cut", 25, seed=0, other=gray(200, num_frames=5))
    assert numbers(corrupted)[-5:] == [200] * 5
    with pytest.raises(CorruptionNotApplicable, match="bare: has 4 frames, a cut to it needs 5"):
        corrupt(numbered(20), "cut", 25, seed=0, other=gray(200, num_frames=4))


@few
@given(percent=st.floats(1, 10), seed=seeds)
def test_flicker(percent: float, seed: int) -> None:
    frames = corrupt(gray(120), "flicker", percent, seed=seed).frames[0].astype(float)
    assert (frames == frames[:, :1, :1, :1]).all()
    assert 100 * np.sqrt(((frames[:, 0, 0, 0] / 120 - 1) ** 2).mean()) == pytest.approx(percent, abs=0.25)


@few
@given(levels=st.floats(3, 25), seed=seeds)
def test_boil(levels: float, seed: int) -> None:
    spots = corrupt(gray(120, num_frames=5), "boil", levels, seed=seed).frames[0, ..., 0].astype(float) - 120
    np.testing.assert_allclose(np.sqrt((spots**2).mean((1, 2))), levels, rtol=0.03)
    alike = np.corrcoef(spots.reshape(5, -1)) - np.eye(5)
    assert np.abs(alike).max() < 0.2, "every frame has new noise"


@few
@given(percent=st.floats(2, 4), seed=seeds)
def test_local_warp(percent: float, seed: int) -> None:
    away = _displacement(corrupt(ramps(), "local-warp", percent, seed=seed))
    furthest = np.linalg.norm(away, axis=-1).max((1, 2))
    swing = np.abs(np.sin(2 * np.pi * np.arange(17) / 10))
    assert furthest.max() == pytest.approx(swing.max() * percent / 100 * 160, abs=1.0)
    assert furthest[0] == 0
    assert (np.linalg.norm(away, axis=-1) > 1).mean((1, 2)).max() < 0.7, "the rest of the image is unchanged"


@few
@given(percent=st.floats(2, 4), seed=seeds)
def test_rolling_warp(percent: float, seed: int) -> None:
    away = _displacement(corrupt(ramps(), "rolling-warp", percent, seed=seed))[:, :, 20:-20]
    assert np.abs(away[..., 0]).max() == pytest.approx(percent / 100 * 160, abs=0.6)
    assert np.abs(away[..., 1]).max() == 0
    assert np.ptp(away[..., 0], axis=2).max() <= 1, "a row moves as one"
    assert (away[0] != away[3]).any(), "the waves move"


def _displacement(warped: Clip) -> np.ndarray:
    """Displacement ``(T, H, W, 2)`` px, right and down, of the content of ``ramps``."""
    moved = warped.frames[0, ..., :2].astype(float) - ramps().frames[0, ..., :2]
    return np.asarray(-moved / [1, 2])


@pytest.mark.parametrize("seed", range(3))
def test_object_growth(clip: Clip, seed: int) -> None:
    good = laid_out(commanded_box(clip, np.full(17, -2.0)))
    grown = corrupt(good, "object-growth", 40, seed=seed)
    before, after = ((c.frames[0].max(-1) > 40).sum((1, 2)) for c in (good, grown))
    np.testing.assert_allclose(np.sqrt(after / before), 1 + 0.4 * np.arange(17) / 16, atol=0.04)
    lowest = [np.flatnonzero((c.frames[0, -1].max(-1) > 40).any(1)).max() for c in (good, grown)]
    assert abs(lowest[1] - lowest[0]) <= 1, "its bottom does not move"


def test_vanish(clip: Clip) -> None:
    good = laid_out(clip)
    corrupted = corrupt(good, "vanish", 33, seed=0)
    seen = (corrupted.frames[0].max(-1) > 40).sum((1, 2)) / (good.frames[0].max(-1) > 40).sum((1, 2))
    np.testing.assert_array_equal(seen[:11], 1)
    assert seen[11:].max() < 0.02


def test_a_vanished_object_is_filled_with_its_surroundings() -> None:
    """On an image that varies only by row, the vanished object leaves no trace."""
    empty = np.repeat(np.linspace(20, 220, 96).astype(np.uint8)[None, :, None, None], 17, 0)
    scene = street(num_frames=17).scene
    good = Clip(scene=scene, frames=np.broadcast_to(empty, (17, 96, 160, 3))[None].copy())
    drawn = laid_out(good).frames
    with_car = replace(good, frames=np.where(drawn.max(-1, keepdims=True) > 40, drawn, good.frames))
    corrupted = corrupt(with_car, "vanish", 33, seed=0)
    assert (np.abs(corrupted.frames[:, 11:].astype(int) - good.frames[:, 11:]).max(-1) <= 2).mean() > 0.999


def test_identity_swap(clip: Clip) -> None:
    corrupted = corrupt(clip, "identity-swap", 100, seed=0)
    boxes = project_boxes(reference_view(clip))
    inside = np.stack([boxes.mask(t, (96, 160)) > 0 for t in range(17)])
    change = np.abs(corrupted.frames[0].astype(int) - clip.frames[0]).max(-1)
    start = int(np.argmax(change.max((1, 2)) > 0))
    assert 3 <= start <= 14
    assert all(change[t][inside[t]].mean() > 15 for t in range(start, 17))
    assert change[~inside].mean() < 0.5


def test_an_object_takes_the_appearance_of_another_one_of_its_category(clip: Clip) -> None:
    """Two cars side by side in two colors: the corrupted one takes the color of the other."""
    (red,) = clip.scene.tracks
    moved = np.array(red.box_to_world)
    moved[:, :3, 3] -= 5 * moved[:, :3, 1]
    blue = replace(red, id="other", box_to_world=moved)
    frames = laid_out(clip.with_scene(tracks=(red, blue))).frames.copy()
    frames[:, :, :, 80:] = frames[:, :, :, 80:, ::-1]
    good = Clip(scene=replace(clip.scene, tracks=(red, blue)), frames=frames)
    corrupted = corrupt(good, "identity-swap", 100, seed=0).frames[0, -1].astype(int)
    assert category_color(red.category)[0] > category_color(red.category)[2]
    halves = [half[half.max(-1) > 60].mean(0) for half in (corrupted[:, :80], corrupted[:, 80:])]
    assert (halves[0][0] > halves[0][2]) == (halves[1][0] > halves[1][2])


@pytest.mark.parametrize("corruption_type", ["vanish", "identity-swap", "object-growth"])
def test_nearer_objects_stay_in_front_of_the_corrupted_one(corruption_type: str, clip: Clip) -> None:
    (car,) = clip.scene.tracks
    post = replace(
        car,
        id="post",
        category="object",
        size=np.array([0.04, 0.04, 1.6]),
        box_to_world=clip.scene.ego_to_world @ pose(np.eye(3), [6.0, 1.4, 0.8]),
    )
    good = laid_out(clip.with_scene(tracks=(car, post)))
    corrupted = corrupt(good, corruption_type, 33, seed=0)
    view = reference_view(good)
    before = np.stack([project_boxes(replace(view, tracks=(post,))).mask(t, (96, 160)) > 0 for t in range(17)])
    behind = np.stack([project_boxes(replace(view, tracks=(car,))).mask(t, (96, 160)) > 0 for t in range(17)])
    changed = (corrupted.frames != good.frames).any(-1)[0]
    assert (before & behind).sum() > 17 * 20
    assert not changed[before].any()
    assert changed[behind & ~before].mean() > 0.2
