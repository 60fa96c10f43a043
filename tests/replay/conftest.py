"""Small, distinguishable latents, and a driving cache and a replay buffer of them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from driveforge.datasets.latents.cache import LatentCache, LatentSample, write_latents
from driveforge.replay.buffer import ReplayBuffer

MakeSample = Callable[..., LatentSample]


@pytest.fixture(scope="session")
def make_sample() -> MakeSample:
    def make(number: int, domain: str = "orbit", channels: int = 2) -> LatentSample:
        return LatentSample(
            clip_id=f"{domain}-{number:05d}",
            domain=domain,
            caption=f"clip {number}",
            tensors={"latents": torch.full((channels, 3, 2, 2), float(number)), "present": torch.ones(4)},
        )

    return make


@pytest.fixture(scope="session")
def driving(tmp_path_factory: pytest.TempPathFactory, make_sample: MakeSample) -> LatentCache:
    root: Path = tmp_path_factory.mktemp("latents")
    return write_latents(root, "key", [make_sample(n, "driving-day") for n in range(13)], shard_size=5)


@pytest.fixture(scope="session")
def replay(tmp_path_factory: pytest.TempPathFactory, make_sample: MakeSample) -> ReplayBuffer:
    with ReplayBuffer(tmp_path_factory.mktemp("buffer"), 12) as buffer:
        for number in range(10):
            for domain in ("orbit", "falling", "walkers"):
                buffer.add(make_sample(number, domain))
    return buffer
