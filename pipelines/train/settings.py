"""Settings of pretraining and evaluation."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from driveforge.datasets.settings import Range
from driveforge.finetune.evaluation.settings import EvaluationSettings
from driveforge.finetune.training.settings import TrainingSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainSettings(TrainingSettings):
    """The base checkpoint: the VAE from its PCA initialization, then the world model on diverse procedural domains."""

    out: Annotated[Path, "folder of the checkpoint; an unfinished one is resumed"]
    start: Annotated[Path | None, "an earlier base to continue from, with its VAE; null: random weights"]
    domains: Annotated[tuple[str, ...], "procedural domains, in equal parts"]
    num_scenes: Annotated[int, "clips over all domains", Range(1)]
    vae_clips: Annotated[int, "clips that the VAE is trained on", Range(1)]
    vae_steps: Annotated[int, "optimizer steps of the VAE", Range(0)]
    vae_batch_size: Annotated[int, "windows of five frames", Range(1)]
    vae_learning_rate: Annotated[float, "peak", Range(0)]


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateSettings(EvaluationSettings):
    """How a model is evaluated: held-out clips of every domain, continued without commands."""

    domains: Annotated[tuple[str, ...], "procedural domains"]
    clips_per_domain: Annotated[int, "clips; a Frechet distance needs 8", Range(1)]
    footage: Annotated[
        tuple[Path, ...], "real clips too: folders of videos, shards, nuScenes roots (with data=nuscenes)"
    ]
    every: Annotated[int, "optimizer steps between evaluations during a fine-tune; 0: none", Range(0)]
