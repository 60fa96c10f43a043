"""The shared data of all runs of the forgetting study: clips of all domains, evaluation sets, and bases."""

import hashlib
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from driveforge.datasets.domains import DRIVING_DAY, ORBIT, OTHER_DOMAINS, WALKERS
from driveforge.datasets.files.atomic_folder import atomic_folder
from driveforge.datasets.framing import Framing
from driveforge.datasets.latents.cache import LatentCache
from driveforge.datasets.simulated_source import SimulatedSource, SimulationConfig
from driveforge.datasets.source import Source
from driveforge.finetune.evaluation.clips import EvaluationClip, EvaluationSet
from driveforge.finetune.evaluation.settings import EvaluationSettings
from driveforge.finetune.training.settings import TrainingSettings
from driveforge.finetune.world_model.families.registry import load_clip_encoder
from driveforge.finetune.world_model.families.tiny import TinyConfig
from driveforge.finetune.world_model.wan_codec import WanCodec
from driveforge.pipelines.registry.models import BASE
from driveforge.pipelines.studies.forgetting.footage import (
    TEST_PART,
    TRAIN_PART,
    VALIDATION_PART,
    FootageSource,
    folder_domain,
)
from driveforge.pipelines.studies.forgetting.infrared import InfraredSource
from driveforge.pipelines.studies.forgetting.settings import ForgettingStudy
from driveforge.pipelines.train.cache import encode_source
from driveforge.pipelines.train.evaluation_clips import encode_evaluation_clips
from driveforge.pipelines.train.pretrain import init_model, train_on_cache
from driveforge.replay.buffer import ReplayBuffer

DRIVING = DRIVING_DAY
# The parts are of different seeds, so that no clip is in two of them.
_BASE_SEED, _DRIVING_SEED, _TEST_SEED, _VALIDATION_SEED = 0, 1, 2, 3
# Between the driving clips of one seed and those of the next.
_SEED_STEP = 10
MODEL_CONFIG = TinyConfig(num_layers=4, num_heads=2, head_dim=64, ffn_dim=384)
TEST_EVALUATION = EvaluationSettings(
    seed=0,
    context_frames=4,
    modes=("continuation",),
    sigma_edges=(0.0, 0.25, 0.5, 0.75, 1.0),
    num_steps=1,
    dynamics=True,
    batch_size=8,
)
# The other domains in which the shipped base predicts objects better than a still frame, by the clips of other seeds
# from which the learning rate was chosen. What a model does not know cannot be forgotten.
SHIPPED_BASE_KNOWS = (ORBIT, WALKERS)
# For adaptive shares and interpolation: only losses, at the noise levels that determine motion.
VALIDATION_EVALUATION = replace(TEST_EVALUATION, dynamics=False, sigma_edges=(0.75, 1.0))


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyWorkspace:
    """The folders of a study; their names contain hashes of the settings, and finished parts are reused."""

    study: ForgettingStudy
    root_dir: Path

    @property
    def root(self) -> Path:
        return self.root_dir / f"forgetting-{_key(replace(self.study, num_seeds=0, num_secondary_seeds=0))}"

    @property
    def latents(self) -> Path:
        """Latent caches of the training clips."""
        return self.root_dir / "latents"

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

    @property
    def test_domains(self) -> tuple[str, ...]:
        """The evaluated domains except driving: those of the footage, or those of the base."""
        return tuple(folder_domain(video) for video in self.study.other_footage) or OTHER_DOMAINS

    @property
    def has_shipped_base(self) -> bool:
        return self.study.base == "shipped"

    def base_seed(self, seed: int) -> int:
        """The seed of the base that the runs of ``seed`` start from; the shipped base counts as that of seed 0."""
        return 0 if self.has_shipped_base else seed

    @property
    def test_evaluation(self) -> EvaluationSettings:
        """The settings of the test; with the shipped base, only the noise levels whose losses are reported."""
        edges = VALIDATION_EVALUATION.sigma_edges if self.has_shipped_base else TEST_EVALUATION.sigma_edges
        return replace(TEST_EVALUATION, sigma_edges=edges)

    @property
    def judged_domains(self) -> tuple[str, ...]:
        """The domains whose dynamics are judged; empty for all of ``test_domains``."""
        return SHIPPED_BASE_KNOWS if self.has_shipped_base and not self.study.other_footage else ()

    def driving(self, seed: int) -> LatentCache:
        """The latents that the runs of ``seed`` are trained on.

        Trained bases differ by seed, so they share simulated clips; with the shipped base, every seed has its own.
        """
        what = "driving clips"
        if self.study.driving_footage:
            return self._cache(self._driving_footage(TRAIN_PART), what)
        clips_seed = _DRIVING_SEED + _SEED_STEP * (seed if self.has_shipped_base else 0)
        return self._cache(self._simulated_driving(self.study.driving_clips, clips_seed), what)

    def others(self) -> LatentCache:
        """The latents of the other domains, for training of the bases and for replay."""
        simulated = self._simulated(OTHER_DOMAINS, self.study.base_clips, _BASE_SEED)
        return self._cache(simulated, "clips of other domains")

    def buffer(self, others: LatentCache) -> ReplayBuffer:
        with ReplayBuffer(self.root_dir / "replay" / others.key, len(others), key=others.key) as buffer:
            for number in range(len(others)) if len(buffer) < len(others) else ():
                buffer.add(others.sample(number))
        return buffer

    def test_set(self) -> EvaluationSet:
        """The test clips, which are used neither for training nor for selection."""
        study = self.study
        if not study.driving_footage:
            return self._evaluation_set(
                self._simulated_driving(study.test_clips, _TEST_SEED),
                self._simulated(OTHER_DOMAINS, study.test_clips, _TEST_SEED),
            )
        return self._evaluation_set(
            self._driving_footage(TEST_PART), FootageSource(videos=study.other_footage, framing=self.framing)
        )

    def validation_set(self) -> EvaluationSet:
        """The clips for adaptive shares and interpolation: the domains of the base, and driving."""
        others = self._simulated(OTHER_DOMAINS, self.study.validation_clips, _VALIDATION_SEED)
        if not self.study.driving_footage:
            driving = self._simulated_driving(self.study.validation_clips, _VALIDATION_SEED)
            return self._evaluation_set(driving, others)
        return self._evaluation_set(self._driving_footage(VALIDATION_PART), others)

    def base(self, seed: int) -> Path:
        """The base of ``seed``; its folder depends only on settings of the base, since bases are expensive to train."""
        if self.has_shipped_base:
            return BASE
        later = ("driving_clips", "test_clips", "validation_clips", "steps", "learning_rate", "ema_decay",
                 "driving_footage", "other_footage")  # fmt: skip
        ignored: dict[str, Any] = dict.fromkeys(later, 0)
        base_settings: ForgettingStudy = replace(self.study, num_seeds=0, num_secondary_seeds=0, **ignored)
        return self.root_dir / f"forgetting-base-{_key(base_settings)}" / f"{seed}" / "model"

    def _simulated(self, domains: tuple[str, ...], clips: int, seed: int) -> SimulatedSource:
        framing = self.framing
        return SimulatedSource(
            SimulationConfig(
                seed=self.study.seed + seed,
                domains=domains,
                num_scenes=clips,
                height=framing.height,
                width=framing.width,
                frame_rate=framing.frame_rate,
                num_frames=framing.num_frames,
            )
        )

    def _simulated_driving(self, clips: int, seed: int) -> Source:
        source = self._simulated((DRIVING,), clips, seed)
        return InfraredSource(source=source) if self.has_shipped_base else source

    def _driving_footage(self, part: tuple[float, float]) -> FootageSource:
        # Clips overlap within their part, since short videos have few clips.
        framing = replace(self.framing, stride=self.study.num_frames // 3)
        return FootageSource(videos=self.study.driving_footage, framing=framing, domain=DRIVING, part=part)

    def _cache(self, source: Source, what: str) -> LatentCache:
        return encode_source(partial(_identity, source), self.framing, BASE, self.latents, what)

    def _evaluation_set(self, *sources: Source) -> EvaluationSet:
        clips: list[EvaluationClip] = []
        for source in sources:
            clips += encode_evaluation_clips(
                partial(_identity, source), self.framing, BASE, self.root_dir / "evaluation"
            )
        return EvaluationSet(clips=tuple(clips), codec_digest=load_clip_encoder(BASE).codec.digest())


def _identity(source: Source) -> Source:
    """An opener for sources that hold no open files and can be sent to other processes."""
    return source


def _key(study: ForgettingStudy) -> str:
    return hashlib.sha256(repr(study).encode()).hexdigest()[:8]


def make_base(workspace: StudyWorkspace, others: LatentCache, seed: int) -> Path:
    """Train a small world model on continuation of ``others``, without driving; returns its folder.

    The shipped base is returned as it is.
    """
    folder = workspace.base(seed)
    if folder.is_dir():
        return folder
    study = workspace.study
    training = TrainingSettings(
        steps=study.base_steps,
        batch_size=study.batch_size,
        accumulate_grad_batches=1,
        learning_rate=study.base_learning_rate,
        warmup_steps=100,
        lr_schedule="cosine",
        weight_decay=0.01,
        ema_decay=0.995,
        max_grad_norm=1.0,
        precision=study.precision,
        compile=False,
        gradient_checkpointing=False,
        parallel="ddp",
        num_workers=0,
        checkpoint_every=100,
        continuation_prob=1.0,
        context_noise=0.0,
        seed=seed,
    )
    model = train_on_cache(
        others,
        init_model(MODEL_CONFIG, WanCodec.from_pretrained(BASE), others, seed),
        training,
        folder.parent / "checkpoints",
    )
    with atomic_folder(folder) as scratch:
        model.save_pretrained(scratch)
    return folder
