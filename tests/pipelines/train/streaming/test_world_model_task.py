"""The training task: how often clips are drawn, and what a step trains."""

import numpy as np
import torch

from driveforge.finetune.world_model.families.tiny import TinyConfig, TinyWorldModel
from driveforge.finetune.world_model.tiny_vae import initialize_from_pca
from driveforge.finetune.world_model.wan_codec import to_vae_input
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.train.settings import PretrainSettings
from driveforge.pipelines.train.streaming.renderers import Rendered, RenderedBatch
from driveforge.pipelines.train.streaming.world_model import MIN_VISITS, WorldModelTask
from tests.defaults import make_framing

TINY = TinyConfig(latent_channels=4, num_layers=1, num_heads=1, head_dim=24, ffn_dim=32)


class EndlessClips:
    """Renderers that always have one clip ready."""

    next_world = 0

    def __init__(self) -> None:
        self.num_taken = 0

    def take(self, **_: object) -> RenderedBatch:
        rng = np.random.default_rng(self.num_taken)
        self.num_taken += 1
        smooth = rng.integers(0, 255, (1, 3, 5, 2, 4, 3), np.uint8).repeat(8, 3).repeat(8, 4)
        record = Rendered(slot=0, world=0, domain="orbit", caption="orbit", has_layout=True)
        cells = np.zeros((1, 8, 5, 2, 4), np.float16)
        cells[:, 0] = 1  # the first frame is warped to every cell
        return RenderedBatch(images=smooth, cells=cells, clips=(record,))


def make_task(*overrides: str) -> tuple[WorldModelTask, EndlessClips, PretrainSettings]:
    settings = compose(["pretrain.batch_size=4", "pretrain.streaming.first_clips=8", *overrides]).pretrain
    torch.manual_seed(0)
    model = TinyWorldModel.from_config(TINY)
    clips = EndlessClips()
    initialize_from_pca(model.codec.vae, to_vae_input(torch.from_numpy(clips.take().images[:, 0])))
    return WorldModelTask(model, settings, torch.device("cpu")), clips, settings


def test_clips_are_added_only_as_fast_as_they_are_drawn() -> None:
    task, clips, settings = make_task("pretrain.streaming.decoder_every=0")
    task.fill_pool(clips)
    first = task.pool.num_added
    assert first == 8
    steps = 24
    for step in range(steps):
        task.step(step, 1.0)
    added = task.pool.num_added - first
    assert 0.8 < MIN_VISITS * added / (steps * settings.batch_size) < 1.2


def test_steps_reduce_the_loss_and_train_the_decoder_at_its_interval() -> None:
    task, clips, _ = make_task("pretrain.learning_rate=3e-3", "pretrain.streaming.decoder_every=4")
    task.fill_pool(clips)
    task.estimate_statistics()
    found = [task.step(step, 1.0) for step in range(40)]
    losses = [float(values["loss"].detach()) for values in found]
    assert np.mean(losses[-10:]) < np.mean(losses[:10])
    assert [step for step, values in enumerate(found) if "decoder_dB" in values] == list(range(0, 40, 4))


def test_warming_up_changes_no_weight() -> None:
    task, _, _ = make_task()
    before = [value.clone() for value in task.learners["world model"].parameters]
    task.warm_up(make_framing(height=16, width=32, num_frames=5))
    for parameter, value in zip(task.learners["world model"].parameters, before, strict=True):
        assert torch.equal(parameter, value) and parameter.grad is None
