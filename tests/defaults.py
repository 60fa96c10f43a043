"""Settings of tests: the defaults of ``conf/``, with changes."""

from dataclasses import replace
from functools import cache
from typing import Any

from driveforge.datasets.domains import ALL_DOMAINS
from driveforge.datasets.framing import Framing
from driveforge.datasets.simulated_source import SimulationConfig
from driveforge.datasets.webdataset_shards.settings import ExportSettings
from driveforge.finetune.evaluation.settings import EvaluationSettings
from driveforge.finetune.training.settings import FineTuneSettings
from driveforge.finetune.world_model.sampler_settings import SamplerSettings
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.config.config import Config
from driveforge.replay.mix import ReplayMix


@cache
def defaults() -> Config:
    return compose()


def make_framing(**changes: Any) -> Framing:
    return replace(defaults().data.framing, **changes)


def sampler_settings(**changes: Any) -> SamplerSettings:
    return replace(defaults().generate.sampler, **changes)


def fine_tune_settings(**changes: Any) -> FineTuneSettings:
    return replace(defaults().finetune, **changes)


def replay_mix(**changes: Any) -> ReplayMix:
    return replace(defaults().replay, **changes)


def evaluation_settings(**changes: Any) -> EvaluationSettings:
    return replace(defaults().evaluate, seed=0, **changes)


def export_settings(**changes: Any) -> ExportSettings:
    return replace(defaults().export, **changes)


def simulation_config(**changes: Any) -> SimulationConfig:
    """100 clips of each simulated domain."""
    size = {name: getattr(defaults().data, name) for name in ("height", "width", "frame_rate", "num_frames")}
    return SimulationConfig(**{"seed": 0, "domains": ALL_DOMAINS, "num_scenes": 100} | size | changes)
