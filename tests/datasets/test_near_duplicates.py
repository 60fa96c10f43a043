import numpy as np
import pytest
from numpy.typing import NDArray

from driveforge.datasets.near_duplicates import MATCH_BITS, find_nearest, hash_frames
from driveforge.datasets.simulated_source import SimulatedSource
from driveforge.datasets.video import decode_mp4, encode_mp4
from tests.defaults import simulation_config


@pytest.fixture(scope="module")
def frames() -> NDArray[np.uint8]:
    source = SimulatedSource(simulation_config(domains=("driving-day",), num_frames=5))
    return source.load(source.scenes()[3]).frames[0]


def bits(frames: NDArray[np.uint8], others: NDArray[np.uint8]) -> list[int]:
    return [found.bits for found in find_nearest(hash_frames(frames), hash_frames(others))]


def test_a_frame_is_its_own_nearest(frames: NDArray[np.uint8]) -> None:
    found = find_nearest(hash_frames(frames[2:3]), hash_frames(frames))
    assert [(one.row, one.bits, one.is_near_duplicate) for one in found] == [(2, 0, True)]


def test_codec_brightness_and_size_leave_a_near_duplicate(frames: NDArray[np.uint8]) -> None:
    darker = (frames * 0.6).astype(np.uint8)
    half = np.ascontiguousarray(frames[:, ::2, ::2])
    for changed in (decode_mp4(encode_mp4(frames, 10.0))[0], darker, half):
        assert max(bits(changed, frames)) <= MATCH_BITS


def test_other_scenes_and_mirror_images_are_not_near_duplicates(frames: NDArray[np.uint8]) -> None:
    assert min(bits(np.ascontiguousarray(frames[:, :, ::-1]), frames)) > MATCH_BITS
    noise = np.random.default_rng(0).integers(0, 256, frames.shape).astype(np.uint8)
    assert min(bits(noise, frames)) > 2 * MATCH_BITS
