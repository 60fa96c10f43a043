"""Frozen, repeated, skipped, shuffled or reversed frames, on rendered traffic of two sizes and on a real road."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from driveforge.datasets.scene import Clip
from driveforge.datasets.simulated_source import SimulatedSource
from driveforge.validation.measures import Measures, measure
from tests.defaults import simulation_config
from tests.validation.street import reordered

FRAMES = np.arange(24)
HALF = len(FRAMES) // 2


def noisy(clip: Clip) -> Clip:
    """Adds noise, since repeated frames are not identical after compression."""
    noise = np.random.default_rng(0).normal(0, 1.0, clip.frames.shape)
    return Clip(scene=clip.scene, frames=np.clip(clip.frames + noise, 0, 255).astype(np.uint8))


def skipped(clip: Clip) -> Clip:
    """Without frames 9 to 12; the last four frames are held and not measured."""
    without = reordered(clip, [*range(9), *range(13, 24), *[23] * 4])
    return Clip(scene=replace(without.scene, held_frames=4), frames=without.frames)


def cut_to_its_mirror_image(clip: Clip) -> Clip:
    """The second half is the mirror image of the first: the same appearance, another place."""
    frames = clip.frames.copy()
    frames[:, HALF:] = clip.frames[:, :HALF, :, ::-1]
    return Clip(scene=clip.scene, frames=frames)


CORRUPTED: dict[str, tuple[Callable[[Clip], Clip], tuple[str, ...]]] = {
    "frozen": (lambda clip: noisy(reordered(clip, 0 * FRAMES)), ("time_still",)),
    "frozen from the middle": (
        lambda clip: noisy(reordered(clip, np.minimum(FRAMES, HALF))),
        ("time_still", "time_duplicate", "time_acceleration"),
    ),
    "one frame twice": (
        lambda clip: noisy(reordered(clip, [*range(8), 7, *range(9, 24)])),
        ("time_duplicate", "time_acceleration"),
    ),
    "two frames swapped": (
        lambda clip: reordered(clip, [*range(8), 9, 8, *range(10, 24)]),
        ("time_acceleration", "track_cheirality"),
    ),
    "eight frames shuffled": (
        lambda clip: reordered(clip, [*range(8), 11, 8, 14, 12, 9, 15, 10, 13, *range(16, 24)]),
        ("time_acceleration", "track_cheirality"),
    ),
    "four frames skipped": (skipped, ("time_acceleration",)),
    "cut": (cut_to_its_mirror_image, ("time_cut", "time_track_loss")),
    "reversed": (lambda clip: reordered(clip, FRAMES[::-1]), ("track_cheirality",)),
}


def value(measures: Measures, name: str) -> float:
    found = measures[name].value
    assert found is not None, measures[name].reason
    return found


def assert_raised(clip: Clip, good: Measures, corruption_type: str) -> None:
    mutate, names = CORRUPTED[corruption_type]
    corrupted = measure(mutate(clip))
    for name in names:
        assert value(corrupted, name) > 1.5 * value(good, name) + 0.05, name


@pytest.fixture(scope="module", params=[(64, 112), (128, 224)], ids=["64 rows", "128 rows"])
def traffic(request: pytest.FixtureRequest) -> tuple[Clip, Measures]:
    height, width = request.param
    config = simulation_config(domains=("driving-day",), num_scenes=2, height=height, width=width, num_frames=24)
    source = SimulatedSource(config)
    clip = source.load(source.scenes()[1])
    return clip, measure(clip)


@pytest.fixture(scope="module")
def real_road(kitti: Clip) -> tuple[Clip, Measures]:
    return kitti, measure(kitti)


@pytest.mark.parametrize("corruption_type", CORRUPTED)
def test_rendered_traffic(corruption_type: str, traffic: tuple[Clip, Measures]) -> None:
    assert_raised(*traffic, corruption_type)


@pytest.mark.real
@pytest.mark.parametrize("corruption_type", CORRUPTED)
def test_a_real_road(corruption_type: str, real_road: tuple[Clip, Measures]) -> None:
    assert_raised(*real_road, corruption_type)
