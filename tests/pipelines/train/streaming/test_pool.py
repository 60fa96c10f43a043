"""Clips from renderers: their pixels, and the conditions that the pool makes of them, are those of a fine-tune."""

import multiprocessing
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from driveforge.datasets.conditioning.pixel_clip import make_pixel_clip
from driveforge.datasets.conditioning.rays import plucker_rays
from driveforge.datasets.domains import ALL_DOMAINS
from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Clip
from driveforge.datasets.simulated_source import SimulatedSource
from driveforge.finetune.training.strided_vae import make_strided_vae
from driveforge.finetune.world_model.clip_encoder import ClipEncoder
from driveforge.finetune.world_model.clip_tensors import ClipTensors
from driveforge.finetune.world_model.families.tiny import TinyConfig, TinyWorldModel
from driveforge.finetune.world_model.tiny_vae import initialize_from_pca, make_vae
from driveforge.finetune.world_model.wan_codec import WanCodec, to_vae_input
from driveforge.pipelines.train.streaming.clips import ClipStream
from driveforge.pipelines.train.streaming.mirror import mirror_caption, mirror_cells, mirror_images
from driveforge.pipelines.train.streaming.pool import LatentPool
from driveforge.pipelines.train.streaming.renderers import Rendered, RenderedBatch, start_renderers
from tests.defaults import make_framing, simulation_config

FRAMING = make_framing(height=32, width=48, num_frames=5)
CONFIG = simulation_config(
    height=32, width=48, num_frames=5, domains=("driving-day", "orbit"), num_scenes=4, varied_cameras=True
)
STREAM = ClipStream(config=CONFIG)
ROOT = Path(__file__).parents[4]


def rendered(clip: Clip) -> RenderedBatch:
    scene = clip.scene
    pixels = make_pixel_clip(scene, clip.frames[0], 8)
    record = Rendered(slot=0, world=0, domain=scene.domain, caption=scene.caption, has_layout=True)
    return RenderedBatch(images=pixels.images[None], cells=pixels.cells[None], clips=(record,))


@pytest.mark.parametrize(("index", "strided"), [(0, False), (5, False), (0, True)])
def test_the_pool_holds_the_tensors_of_a_fine_tune(index: int, strided: bool) -> None:
    source = SimulatedSource(CONFIG)
    clip = source.load(source.scenes()[index])
    torch.manual_seed(0)
    vae = make_strided_vae() if strided else make_vae(8, 8)
    if not strided:
        initialize_from_pca(vae, to_vae_input(torch.from_numpy(np.array(clip.frames))))
    codec = WanCodec(vae)
    expected = ClipTensors.stack([ClipEncoder(codec).encode_clip(clip)])
    sizes = TinyConfig(num_layers=1, num_heads=1, head_dim=24, ffn_dim=32, latent_channels=codec.channels)
    model = TinyWorldModel.from_config(sizes, codec)
    conditions = model.batch_conditions(expected, [clip.scene.domain], [clip.scene.caption])
    pool = LatentPool(codec, 10, ALL_DOMAINS, torch.device("cpu"))
    pool.add(rendered(clip))
    batch = pool.select(torch.tensor([0]))

    def close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
        torch.testing.assert_close(ours, theirs.float(), atol=4e-3, rtol=4e-3)

    close(batch.latents, expected.latents)
    close(batch.cell_weight, expected.cell_weight)
    for name in ("warped", "layout", "rays", "domain", "text"):
        close(getattr(batch.conditions, name).float(), getattr(conditions, name))
    close(batch.conditions.mask.to_channels(), conditions.mask.to_channels())
    assert torch.equal(pool.frames(torch.tensor([0]))[0], torch.from_numpy(np.array(clip.frames[0])))
    assert torch.equal(pool.frames(torch.tensor([1])), pool.frames(torch.tensor([0])).flip(-2)), "its mirror image"


def test_a_full_pool_replaces_the_oldest_clips() -> None:
    scene, frames = next(STREAM.film(0))
    pool = LatentPool(WanCodec(make_vae(4, 8)), 4, ALL_DOMAINS, torch.device("cpu"))
    for brightness in range(3):
        pool.add(rendered(Clip(scene=scene, frames=np.full_like(frames, brightness)[None])))
    assert (len(pool), pool.num_added) == (4, 6)
    assert sorted(pool.frames(torch.arange(4))[:, 0, 0, 0, 0].tolist()) == [1, 1, 2, 2]
    drawn = pool.draw(200, torch.Generator().manual_seed(0)).rows
    assert set(drawn.tolist()) == set(range(4))
    assert (drawn % 2 == 1).float().mean() < 0.4, "mirrored streets are drawn less often"


def test_most_of_a_batch_is_driving() -> None:
    pool = LatentPool(WanCodec(make_vae(4, 8)), 8, ALL_DOMAINS, torch.device("cpu"))
    for world in (0, 1):  # one clip of driving-day, one of orbit, and their mirror images
        scene, frames = next(STREAM.film(world))
        pool.add(rendered(Clip(scene=scene, frames=frames[None])))
    rows = pool.draw(2000, torch.Generator().manual_seed(0)).rows
    assert (rows < 2).float().mean() == pytest.approx(1.35 / 2.35, abs=0.04)


def test_mirrored_rays_are_those_of_the_mirrored_scene() -> None:
    scene, frames = next(STREAM.film(2))
    assert scene.ego_to_world is not None
    flip_y, flip_x = np.diag([1.0, -1, 1, 1]), np.diag([-1.0, 1, 1, 1])
    camera = scene.cameras[0]
    mirrored = replace(
        scene,
        ego_to_world=flip_y @ scene.ego_to_world @ flip_y,
        cameras=(replace(camera, camera_to_ego=flip_y @ np.asarray(camera.camera_to_ego) @ flip_x),),
        tracks=(),
        lanes=(),
    )
    cells = torch.from_numpy(make_pixel_clip(scene, frames, 8).cells)[None].float()
    rays = torch.from_numpy(plucker_rays(mirrored, mirrored.cameras[0], 8))
    torch.testing.assert_close(mirror_cells(cells)[0, 2:], rays, atol=2e-3, rtol=1e-2)
    assert torch.equal(mirror_cells(mirror_cells(cells)), cells)
    images = torch.from_numpy(frames)
    assert torch.equal(mirror_images(images)[:, :, 0], images[:, :, -1])
    assert mirror_caption("day, curved road left, right") == "day, curved road right, left"


def test_renderers_make_the_clips_of_the_stream() -> None:
    with start_renderers(STREAM, FRAMING, 2, 4) as renderers:
        found = {}
        while len(found) < 4:
            batch = renderers.take(timeout=None, at_least=1)
            assert batch is not None
            for images, cells, clip in zip(batch.images, batch.cells, batch.clips, strict=True):
                found.setdefault(clip.world, (images, cells, clip))
        assert renderers.next_world == 1 + max(found)
    assert not multiprocessing.active_children()
    assert min(found) == 4
    for world in (4, 5):
        scene, frames = next(STREAM.film(world))
        expected = make_pixel_clip(scene, frames, 8)
        images, cells, clip = found[world]
        np.testing.assert_array_equal(images, expected.images)
        np.testing.assert_array_equal(cells, expected.cells)
        assert (clip.domain, clip.caption) == (scene.domain, scene.caption)


def test_a_driving_world_is_filmed_by_two_cameras() -> None:
    (first, frames), (second, other_frames) = STREAM.film(0)
    assert not np.array_equal(first.cameras[0].intrinsics, second.cameras[0].intrinsics)
    assert first.tracks == second.tracks and not np.array_equal(frames, other_frames)
    assert len(list(STREAM.film(1))) == 1, "other domains have one camera"


def test_a_dead_renderer_is_a_user_error() -> None:
    with start_renderers(STREAM, FRAMING, 1, 0) as renderers:
        (process,) = multiprocessing.active_children()
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(UserError, match="a renderer process terminated"):
            while True:
                renderers.take(timeout=None)
    assert not multiprocessing.active_children()


def test_renderers_import_no_torch() -> None:
    code = "import sys, driveforge.pipelines.train.streaming.renderers; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
