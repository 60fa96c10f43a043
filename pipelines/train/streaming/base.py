"""A base checkpoint by the clock: first its VAE, then the world model."""

from dataclasses import asdict
from typing import Any

import torch

from driveforge.datasets.files.atomic import write_atomic
from driveforge.datasets.framing import Framing
from driveforge.finetune.world_model.families.tiny import TinyConfig, TinyWorldModel
from driveforge.finetune.world_model.wan_codec import WanCodec
from driveforge.pipelines.inputs.sources import simulate_pretraining
from driveforge.pipelines.train.base_files import VAE_CURVE, copy_vae, make_csv, make_recipe, save_vae
from driveforge.pipelines.train.settings import PretrainSettings
from driveforge.pipelines.train.streaming.clips import ClipStream
from driveforge.pipelines.train.streaming.run import Run
from driveforge.pipelines.train.streaming.vae import WARMUP_STEPS as VAE_WARMUP_STEPS
from driveforge.pipelines.train.streaming.vae import train_vae_by_clock
from driveforge.pipelines.train.streaming.world_model import train_world_model_by_clock

# Settings that another call of an interrupted run may change.
_MAY_CHANGE = ("out", "minutes", "steps", "num_workers", "checkpoint_every", "compile")
_STREAMING_MAY_CHANGE = ("renderers", "pool_clips", "first_clips", "vae_minutes", "checkpoint_minutes")


def train_by_clock(
    settings: PretrainSettings, framing: Framing, minutes: float
) -> tuple[TinyWorldModel, list[dict[str, float]]]:
    """The averaged model after ``minutes`` of training, and its curve; makes ``<out>/vae`` first. Resumes."""
    stream = ClipStream(config=simulate_pretraining(settings, framing))
    if not (settings.out / "vae" / "config.json").is_file():
        _make_vae(settings, framing, stream)
    model = _initial_model(settings)
    run = _make_run("Training the world model", minutes, settings.warmup_steps, settings, framing, "checkpoints")
    is_new = settings.start is None
    return model, train_world_model_by_clock(model, settings, framing, stream, run, is_new=is_new)


def _make_vae(settings: PretrainSettings, framing: Framing, stream: ClipStream) -> None:
    if settings.start is not None:
        copy_vae(settings.start, settings.out)
        return
    minutes = settings.streaming.vae_minutes
    run = _make_run("Training the VAE", minutes, VAE_WARMUP_STEPS, settings, framing, "vae_checkpoints")
    vae, curve = train_vae_by_clock(TinyConfig(), settings, framing, stream, run)
    write_atomic(settings.out / VAE_CURVE, make_csv(curve))
    save_vae(vae, settings.out)


def _initial_model(settings: PretrainSettings) -> TinyWorldModel:
    if settings.start is not None:
        return TinyWorldModel.from_pretrained(settings.start)
    torch.manual_seed(settings.seed)
    codec = WanCodec.from_pretrained(settings.out)
    config = TinyConfig(
        latent_channels=codec.channels,
        patch_size=codec.spatial_stride,
        temporal_stride=codec.temporal_stride,
        **asdict(settings.transformer),
    )
    return TinyWorldModel.from_config(config, codec)


def _make_run(
    name: str, minutes: float, warmup_steps: int, settings: PretrainSettings, framing: Framing, folder: str
) -> Run:
    return Run(
        name=name,
        minutes=minutes,
        warmup_steps=warmup_steps,
        folder=settings.out / folder,
        config=_decisive_settings(settings, framing),
        checkpoint_minutes=settings.streaming.checkpoint_minutes,
    )


def _decisive_settings(settings: PretrainSettings, framing: Framing) -> dict[str, Any]:
    """What the weights depend on, other than the speed of the machine and the duration."""
    recipe = make_recipe(settings, framing)
    pretrain = {key: value for key, value in recipe["pretrain"].items() if key not in _MAY_CHANGE}
    streaming = pretrain.pop("streaming")
    return {
        **pretrain,
        **{key: value for key, value in streaming.items() if key not in _STREAMING_MAY_CHANGE},
        "framing": recipe["framing"],
    }
