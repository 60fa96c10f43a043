"""Settings of pretraining and evaluation."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from driveforge.datasets.settings import Range
from driveforge.finetune.evaluation.settings import EvaluationSettings
from driveforge.finetune.training.settings import TrainingSettings
from driveforge.pipelines.train.streaming.settings import StreamingSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class TransformerSizes:
    """Sizes of a new world model."""

    num_layers: Annotated[int, "blocks", Range(1)]
    num_heads: Annotated[int, "attention heads", Range(1)]
    head_dim: Annotated[int, "channels of a head", Range(2, step=2)]
    ffn_dim: Annotated[int, "channels of the feed-forward layers", Range(1)]


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainSettings(TrainingSettings):
    """Training of the base checkpoint: first the VAE, then the world model."""

    out: Annotated[Path, "output folder; interrupted training in it is resumed"]
    start: Annotated[Path | None, "an earlier base to start from, with its VAE; null: random weights"]
    minutes: Annotated[
        float | None,
        "minutes of training, on clips that are rendered meanwhile; null: pretrain.steps on cached clips",
        Range(0.01),
    ]
    streaming: StreamingSettings
    transformer: TransformerSizes
    codec: Annotated[
        Literal["patch", "strided"],
        "VAE; patch: one latent frame per frame; strided: one per four frames, needs pretrain.minutes",
    ]
    domains: Annotated[tuple[str, ...], "procedural domains, in equal parts"]
    close_share: Annotated[float, "share of driving clips with vehicles that pass close by or cut in", Range(0, 1)]
    num_scenes: Annotated[int, "clips over all domains", Range(1)]
    vae_clips: Annotated[int, "clips that the VAE is trained on; with pretrain.minutes, the latest", Range(1)]
    vae_steps: Annotated[int, "optimizer steps of the VAE, without pretrain.minutes", Range(0)]
    vae_batch_size: Annotated[int, "crops in a batch of the VAE", Range(1)]
    vae_learning_rate: Annotated[float, "peak learning rate of the VAE", Range(0)]


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateSettings(EvaluationSettings):
    """Evaluation by continuation of held-out clips, without commands."""

    domains: Annotated[tuple[str, ...], "procedural domains"]
    clips_per_domain: Annotated[int, "clips of each domain; a Frechet distance needs 8", Range(1)]
    footage: Annotated[
        tuple[Path, ...], "additional real clips: folders of videos, shards, nuScenes roots (with data=nuscenes)"
    ]
    every: Annotated[int, "optimizer steps between evaluations during a fine-tune; 0: none", Range(0)]
