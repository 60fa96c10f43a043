"""What every run of the forgetting study stands on: clips of all domains, probes, and the base of each seed."""

import hashlib
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from datasets.framing import Framing
from datasets.latents import LatentCache
from datasets.simulated_source import SimulatedSource, SimulationConfig
from finetune.module import TrainingSettings
from finetune.probe.probe_set import ProbeSet, make_probe_set
from finetune.probe.settings import ProbeSettings
from finetune.vae import load_vae
from finetune.world_model import OTHER_DOMAINS, WorldModelConfig
from pipelines.cache import encode_source
from pipelines.config import ForgettingConfig
from pipelines.models import BASE
from pipelines.pretrain import train_from_nothing
from replay.buffer import ReplayBuffer

DRIVING = "driving-day"
# The parts are of different seeds, so that no clip is in two of them.
_BASE_SEED, _DRIVING_SEED, _JUDGE_SEED, _CHOICE_SEED = 0, 1, 2, 3
SIZES = WorldModelConfig(num_layers=4, num_heads=2, head_dim=64, ffn_dim=384)
JUDGE = ProbeSettings(num_steps=1)
# What a run may look at while it trains, or choose by: losses alone.
CHOICE = ProbeSettings(num_steps=1, dynamics=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ground:
    """Everything is kept in ``root``, by the settings that decide it; what is there is not made again."""

    study: ForgettingConfig
    store: Path

    @property
    def root(self) -> Path:
        return self.store / f"forgetting-{_key(replace(self.study, seeds=0, seeds_of_rest=0))}"

    @property
    def framing(self) -> Framing:
        study = self.study
        return Framing(
            height=study.height,
            width=study.width,
            frame_rate=10.0,
            num_frames=study.num_frames,
            stride=study.num_frames,
        )

    def driving(self) -> LatentCache:
        return self._cache((DRIVING,), self.study.driving_clips, _DRIVING_SEED, "driving clips")

    def others(self) -> LatentCache:
        """Of the domains that the base is trained on, and that replay draws from."""
        return self._cache(OTHER_DOMAINS, self.study.base_clips, _BASE_SEED, "clips of other domains")

    def buffer(self) -> ReplayBuffer:
        others = self.others()
        with ReplayBuffer(self.root / "replay" / others.key, len(others), key=others.key) as buffer:
            for number in range(len(others)) if len(buffer) < len(others) else ():
                buffer.offer(others.sample(number))
        return buffer

    def judge_set(self) -> ProbeSet:
        """The clips that results are measured on: no run sees or chooses by them."""
        return self._probe_set(_JUDGE_SEED, self.study.judge_clips)

    def choice_set(self) -> ProbeSet:
        """The clips that adaptive shares and interpolation go by."""
        return self._probe_set(_CHOICE_SEED, self.study.choice_clips)

    def base(self, seed: int) -> Path:
        """Bases cost most, so they serve studies that differ in what comes after them."""
        later = ("driving_clips", "judge_clips", "choice_clips", "steps", "learning_rate", "ema_decay")
        nothing: dict[str, Any] = dict.fromkeys(later, 0)
        bare: ForgettingConfig = replace(self.study, seeds=0, seeds_of_rest=0, **nothing)
        return self.store / f"forgetting-base-{_key(bare)}" / f"{seed}" / "model"

    def _source(self, domains: tuple[str, ...], clips: int, seed: int) -> SimulatedSource:
        framing = self.framing
        return SimulatedSource(
            SimulationConfig(
                seed=self.study.seed + seed,
                domains=domains,
                num_scenes=clips,
                height=framing.height,
                width=framing.width,
                num_frames=framing.num_frames,
            )
        )

    def _cache(self, domains: tuple[str, ...], clips: int, seed: int, what: str) -> LatentCache:
        opened = partial(self._source, domains, clips, seed)
        return encode_source(opened, self.framing, BASE, self.store / "latents", what)

    def _probe_set(self, seed: int, clips: int) -> ProbeSet:
        source = self._source((DRIVING, *OTHER_DOMAINS), clips, seed)
        return make_probe_set(load_vae(BASE), (source.load(scene) for scene in source.scenes()))


def _key(study: ForgettingConfig) -> str:
    return hashlib.sha256(repr(study).encode()).hexdigest()[:8]


def make_base(ground: Ground, seed: int) -> Path:
    """A small world model that learnt how things move in the other domains and saw no driving, trained to go on."""
    folder = ground.base(seed)
    if folder.is_dir():
        return folder
    study = ground.study
    training = TrainingSettings(
        steps=study.base_steps,
        learning_rate=study.base_learning_rate,
        warmup=100,
        decay="cosine",
        ema_decay=0.995,
        precision=study.precision,
        predict=1.0,
        seed=seed,
    )
    model = train_from_nothing(
        ground.others(),
        SIZES,
        load_vae(BASE),
        training,
        folder.parent / "checkpoints",
        batch_size=study.batch_size,
        checkpoint_every=100,
    )
    scratch = folder.with_name(".model.tmp")
    model.save_pretrained(scratch)
    scratch.rename(folder)
    return folder
