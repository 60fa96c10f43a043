"""The latent cache follows the pixels of the footage; a fake encoder stores the mean of each clip."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from driveforge.datasets.latents.cache import LatentCache, LatentSample
from driveforge.datasets.scene import Scene
from driveforge.datasets.source import Source
from driveforge.datasets.video import encode_mp4
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.registry.models import BASE
from driveforge.pipelines.train import cache
from driveforge.pipelines.train.cache import cache_driving

FRAMING = ["data.height=32", "data.width=48", "data.num_frames=5", "data.stride=5"]


@pytest.fixture(autouse=True)
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the clips that were encoded."""
    clip_ids: list[str] = []

    def encode(opener: Callable[[], Source], checkpoint: Path, scenes: Sequence[Scene]) -> Iterator[LatentSample]:
        source = opener()
        for scene in scenes:
            clip_ids.append(scene.clip_id)
            tensors = {"latents": torch.full((2, 3), float(source.load(scene).frames.mean()))}
            yield LatentSample(clip_id=scene.clip_id, domain=scene.domain, caption=scene.caption, tensors=tensors)

    monkeypatch.setattr(cache, "encode_scenes", encode)
    return clip_ids


def write_video(path: Path, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_mp4(np.full((10, 32, 48, 3), shade, np.uint8), 10.0))


def cached(root: Path, run_dir: str) -> LatentCache:
    config = compose(["data=video", f"data.root={root / 'footage'}", f"run_dir={root / run_dir}", *FRAMING])
    return cache_driving(config.data, BASE, config.run.latents)


def test_footage_replaced_under_the_same_name_is_encoded_again(tmp_path: Path, encoded: list[str]) -> None:
    write_video(tmp_path / "footage" / "clip.mp4", 40)
    before = cached(tmp_path, "a")
    assert cached(tmp_path, "a").digest() == before.digest() and len(encoded) == 2, (
        "unchanged footage is not encoded again"
    )
    write_video(tmp_path / "footage" / "clip.mp4", 200)
    after, fresh = cached(tmp_path, "a"), cached(tmp_path, "b")
    assert (after.key, after.digest()) == (fresh.key, fresh.digest())
    assert after.key != before.key and after.digest() != before.digest()
    write_video(tmp_path / "footage" / "clip.mp4", 40)
    again = cached(tmp_path, "a")
    assert (again.key, again.digest()) == (before.key, before.digest()) and len(encoded) == 6
