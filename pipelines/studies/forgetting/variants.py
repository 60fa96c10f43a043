"""The compared variants: every strategy and replay share, and their seeds."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from driveforge.finetune.strategies.names import StrategyName
from driveforge.finetune.training.settings import FineTuneSettings
from driveforge.pipelines.studies.forgetting.settings import ForgettingStudy
from driveforge.replay.mix import ReplayMix

STILL, BASE, NAIVE, INTERPOLATE, ADAPTIVE = "still frame", "base", "naive", "interpolate", "adaptive"
FIXED_SHARES = (0.01, 0.05, 0.10, 0.25, 0.50)
USUAL_SHARE = 0.25
DECISIONS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """One kind of fine-tune. ``is_primary`` variants are run with every seed, the others with fewer.

    ``lr_factor`` multiplies the learning rate of the study.
    """

    label: str
    strategy: StrategyName
    share: float = 0.0
    schedule: Literal["fixed", "adaptive"] = "fixed"
    is_primary: bool = False
    lr_factor: float = 1.0

    @property
    def name(self) -> str:
        return self.label if self.lr_factor == 1.0 else f"{self.label}, {self.lr_factor:g} x LR"

    @property
    def is_fixed_replay(self) -> bool:
        return self.strategy == "replay" and self.schedule == "fixed"

    def settings(self, study: ForgettingStudy, seed: int) -> FineTuneSettings:
        """The fine-tuning settings, with the same steps and batches for all variants."""
        # Explicit values, so that a change of defaults does not change the study.
        return FineTuneSettings(
            strategy=self.strategy,
            # The trained weights; they are interpolated afterwards with the best weight.
            strategy_weight=1.0 if self.strategy == INTERPOLATE else None,
            steps=study.steps,
            accumulate_grad_batches=1,
            learning_rate=self.lr_factor * study.learning_rate,
            warmup_steps=20,
            # The shipped base is annealed: a constant rate degrades it on any data, its own too.
            lr_schedule="cosine" if study.base == "shipped" else "constant",
            weight_decay=0.01,
            ema_decay=study.ema_decay,
            max_grad_norm=1.0,
            precision=study.precision,
            compile=False,
            gradient_checkpointing=False,
            parallel="ddp",
            num_workers=0,
            continuation_prob=1.0,
            context_noise=0.0,
            seed=seed,
            adapter="full",
            lora_start=None,
            lora_rank=16,
            batch_size=study.batch_size,
            checkpoint_every=study.steps,
        )

    def mix(self, study: ForgettingStudy, seed: int) -> ReplayMix:
        return ReplayMix(
            share=self.share,
            schedule=self.schedule,
            final_share=self.share,
            tolerance=0.05,
            eval_every=max(1, study.steps // DECISIONS),
            loss_weight=1.0,
            seed=seed,
        )


def replay_label(share: float) -> str:
    """The label of replay with a fixed share."""
    return f"replay {share:.0%}"


def _replay_variant(share: float) -> Variant:
    return Variant(label=replay_label(share), strategy="replay", share=share, is_primary=share == USUAL_SHARE)


_NAIVE = Variant(label=NAIVE, strategy="naive", is_primary=True)
_FIXED_SHARE_VARIANTS = tuple(_replay_variant(share) for share in FIXED_SHARES)
# From no replay to the largest fixed share.
SHARE_SWEEP = (_NAIVE, *_FIXED_SHARE_VARIANTS)
VARIANTS = (
    *SHARE_SWEEP,
    Variant(label=ADAPTIVE, strategy="replay", share=0.1, schedule="adaptive", is_primary=True),
    Variant(label=INTERPOLATE, strategy="interpolate", is_primary=True),
    Variant(label="replay+distill", strategy="replay+distill", share=USUAL_SHARE),
    Variant(label="der", strategy="der", share=USUAL_SHARE),
    Variant(label="l2sp", strategy="l2sp"),
    Variant(label="ewc", strategy="ewc"),
    Variant(label="ewc-rank1", strategy="ewc-rank1"),
    Variant(label="joint", strategy="joint"),
)
# At the learning rate of the base, which causes more forgetting.
_HIGH_LR_LABELS = (NAIVE, replay_label(0.10), replay_label(USUAL_SHARE), ADAPTIVE, INTERPOLATE)
HIGH_LR_VARIANTS = tuple(
    replace(variant, is_primary=True, lr_factor=3.0) for variant in VARIANTS if variant.label in _HIGH_LR_LABELS
)
# With the shipped base: its runs take longer, so there are fewer, and the two small shares have the most. What joint
# training loses, with all data in proportion, no share of replay can be expected to recover.
_SHIPPED_PRIMARY = (NAIVE, replay_label(0.10), replay_label(USUAL_SHARE))
_SHIPPED_SECONDARY = (replay_label(0.50), ADAPTIVE, INTERPOLATE, "l2sp", "joint")
SHIPPED_BASE_VARIANTS = tuple(
    replace(variant, is_primary=variant.label in _SHIPPED_PRIMARY)
    for variant in VARIANTS
    if variant.label in (*_SHIPPED_PRIMARY, *_SHIPPED_SECONDARY)
)


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyRun:
    """One fine-tune of the base of its seed."""

    variant: Variant
    seed: int

    @property
    def name(self) -> str:
        return f"{self.variant.name.replace(' ', '-').replace('%', 'pc').replace(',', '')}-{self.seed}"


def plan_runs(study: ForgettingStudy) -> Iterator[StudyRun]:
    """All runs, seed by seed, so that an interrupted study has complete comparisons."""
    for seed in range(study.num_seeds):
        for variant in SHIPPED_BASE_VARIANTS if study.base == "shipped" else (*VARIANTS, *HIGH_LR_VARIANTS):
            if variant.is_primary or seed < study.num_secondary_seeds:
                yield StudyRun(variant=variant, seed=seed)
