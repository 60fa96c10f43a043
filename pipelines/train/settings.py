"""Settings of pretraining and evaluation."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from driveforge.datasets.settings import Range
from driveforge.finetune.evaluation.settings import EvaluationSettings
from driveforge.finetune.training.settings import TrainingSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainSettings(TrainingSettings):
    """Training of the base checkpoint: first the VAE, then the world model."""

    out: Annotated[Path, "output folder; interrupted training in it is resumed"]
    start: Annotated[Path | None, "an earlier base to start from, with its VAE; null: random weights"]
    domains: Annotated[tuple[str, ...], "procedural domains, in equal parts"]
    num_scenes: Annotated[int, "clips over all domains", Range(1)]
    vae_clips: Annotated[int, "clips that the VAE is trained on", Range(1)]
    vae_steps: Annotated[int, "optimizer steps of the VAE", Range(0)]
    vae_batch_size: Annotated[int, "windows of five frames in a batch", Range(1)]
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
