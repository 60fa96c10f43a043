"""What is compared: every strategy and share, with the seeds that it is given."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from driveforge.finetune.training.settings import FineTuneSettings, StrategyName
from driveforge.pipelines.studies.forgetting.settings import ForgettingStudy
from driveforge.replay.mix import ReplayMix

STILL, BASE, NAIVE, INTERPOLATE, ADAPTIVE = "still picture", "base", "naive", "interpolate", "adaptive"
FIXED_SHARES = (0.01, 0.05, 0.10, 0.25, 0.50)
USUAL_SHARE = 0.25
DECISIONS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """One ``way`` to fine-tune; ``is_key`` ones are run with every seed, the rest with fewer.

    ``rate`` multiplies the study's learning rate.
    """

    way: str
    strategy: StrategyName
    share: float = 0.0
    schedule: Literal["fixed", "adaptive"] = "fixed"
    is_key: bool = False
    rate: float = 1.0

    @property
    def name(self) -> str:
        return self.way if self.rate == 1.0 else f"{self.way}, {self.rate:g} x the rate"

    @property
    def is_fixed_replay(self) -> bool:
        return self.strategy == "replay" and self.schedule == "fixed"

    def settings(self, study: ForgettingStudy, seed: int) -> FineTuneSettings:
        """The same steps and batches for all."""
        # The study is of its own settings, so that its results stay those of its page when defaults change.
        return FineTuneSettings(
            strategy=self.strategy,
            # Mixed afterwards, at the point that the probe finds best.
            strategy_weight=1.0 if self.strategy == INTERPOLATE else None,
            steps=study.steps,
            accumulate_grad_batches=1,
            learning_rate=self.rate * study.learning_rate,
            warmup_steps=20,
            decay="constant",
            weight_decay=0.01,
            ema_decay=study.ema_decay,
            max_grad_norm=1.0,
            precision=study.precision,
            compile=False,
            num_workers=0,
            continuation_prob=1.0,
            seed=seed,
            adapter="full",
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


def replaying(share: float) -> str:
    """The name of replay at a fixed share."""
    return f"replay {share:.0%}"


def _replaying(share: float) -> Variant:
    return Variant(way=replaying(share), strategy="replay", share=share, is_key=share == USUAL_SHARE)


_FORGETFUL = Variant(way=NAIVE, strategy="naive", is_key=True)
_FIXED = tuple(_replaying(share) for share in FIXED_SHARES)
# From no replay at all to the largest fixed share.
LADDER = (_FORGETFUL, *_FIXED)
VARIANTS = (
    *LADDER,
    Variant(way=ADAPTIVE, strategy="replay", share=0.1, schedule="adaptive", is_key=True),
    Variant(way=INTERPOLATE, strategy="interpolate", is_key=True),
    Variant(way="replay+distill", strategy="replay+distill", share=USUAL_SHARE),
    Variant(way="der", strategy="der", share=USUAL_SHARE),
    Variant(way="l2sp", strategy="l2sp"),
    Variant(way="ewc", strategy="ewc"),
    Variant(way="ewc-rank1", strategy="ewc-rank1"),
    Variant(way="joint", strategy="joint"),
)
# At the rate of the base itself: what a careless fine-tune does, and what helps against it.
_TRIED_HARD = (NAIVE, replaying(0.10), replaying(USUAL_SHARE), ADAPTIVE, INTERPOLATE)
HARDER = tuple(replace(variant, is_key=True, rate=3.0) for variant in VARIANTS if variant.way in _TRIED_HARD)


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One fine-tune of the base of its seed."""

    variant: Variant
    seed: int

    @property
    def name(self) -> str:
        return f"{self.variant.name.replace(' ', '-').replace('%', 'pc').replace(',', '')}-{self.seed}"


def runs_of(study: ForgettingStudy) -> Iterator[Run]:
    """Seed by seed, so that a study that is cut short has whole comparisons."""
    for seed in range(study.seeds):
        for variant in (*VARIANTS, *HARDER):
            if variant.is_key or seed < study.seeds_of_rest:
                yield Run(variant=variant, seed=seed)
