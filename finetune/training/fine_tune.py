"""One fine-tune from a base to a tuned model, by any strategy: needs folders and settings, no ledger and no command."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import make_folder
from driveforge.datasets.files.lock import file_lock
from driveforge.datasets.latents.cache import LatentCache
from driveforge.finetune.strategies.registry import strategy_of
from driveforge.finetune.strategies.strategy import Ground
from driveforge.finetune.training.adapters import choose_trained, merge_adapter
from driveforge.finetune.training.loop import train
from driveforge.finetune.training.module import WorldModelModule
from driveforge.finetune.training.settings import FineTuneSettings
from driveforge.finetune.training.shares import AdaptShare, LogShares, Probe
from driveforge.finetune.world_model.model import WorldModel, model_digest
from driveforge.replay.buffer import ReplayBuffer
from driveforge.replay.dataset import plan_loader
from driveforge.replay.mix import ReplayMix
from driveforge.replay.plan import DRIVING, BatchPlan
from driveforge.replay.share import FixedShare, LinearShare, ShareSchedule
from driveforge.replay.share_control import AdaptiveShare


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FineTuned:
    """``model`` with averaged weights, adapter merged, on the CPU; samples ``realised`` by pool.

    ``decisions`` are (plan step, share) where the share was adaptive, empty elsewhere.
    """

    model: WorldModel
    realised: dict[str, int]
    decisions: tuple[tuple[int, float], ...]


def fine_tune(
    base: Path,
    driving: LatentCache,
    replay: ReplayBuffer | None,
    settings: FineTuneSettings,
    mix: ReplayMix,
    folder: Path,
    *,
    probe: Probe | None = None,
    logger: Logger | bool = False,
    callbacks: Sequence[Callback] = (),
) -> FineTuned:
    """Fine-tune the model in folder ``base``; ``folder`` keeps checkpoints, and is resumed where it has some.

    ``driving`` and ``replay`` must be of the base's codec. ``probe`` is needed by an adaptive share alone. Seeds torch.
    A UserError where the strategy lacks samples, or where ``folder`` holds another run.
    """
    plan = plan_of(settings, mix, len(driving), replay)
    torch.manual_seed(settings.seed)
    model = WorldModel.from_pretrained(base).train()
    choose_trained(model, settings.adapter, settings.lora_rank)
    if settings.compile:
        model.transformer.compile_repeated_blocks()
    model.to(torch.accelerator.current_accelerator() or "cpu")
    strategy = strategy_of(settings.strategy)(settings.strategy_weight)
    predict, seed = settings.continuation_prob, settings.seed
    make_folder(folder)
    # Of several processes of one run, the first makes what the others then find.
    with file_lock(folder / ".lock"):
        strategy.prepare(Ground(base=base, model=model, replay=replay, folder=folder, seed=seed, predict=predict))
    facts = contents_of(base, driving, replay) | facts_of(settings, mix, plan)
    module = WorldModelModule(model, settings, strategy, facts)
    adapt = _adapt(settings, mix, plan, probe)
    current = adapt.plan if adapt else lambda: plan
    known_until = adapt.known_until if adapt else lambda: settings.num_batches

    def batches(start: int, rank: int, world_size: int) -> Iterator[Mapping[str, Any]]:
        while start < settings.num_batches:
            stop = min(known_until(), settings.num_batches)
            assert start < stop, "no batch is asked for before its share is decided"
            yield from plan_loader(
                current(),
                driving,
                replay,
                start=start,
                stop=stop,
                rank=rank,
                world_size=world_size,
                num_workers=settings.num_workers,
            )
            start = stop

    train(
        module,
        batches,
        folder,
        logger=logger,
        callbacks=[*([adapt] if adapt else []), LogShares(current), *callbacks],
    )
    module.adopt_average()
    merge_adapter(model)
    return FineTuned(
        model=strategy.finished(model, base),
        realised=current().realised(settings.num_batches),
        decisions=tuple(adapt.decisions) if adapt else (),
    )


def plan_of(settings: FineTuneSettings, mix: ReplayMix, num_driving: int, replay: ReplayBuffer | None) -> BatchPlan:
    """The batches of a run; with an adaptive share, as they would be if it never moved."""
    strategy, pools = strategy_of(settings.strategy), {} if replay is None else replay.sizes
    if strategy.needs_buffer and not pools:
        raise UserError(f"finetune.strategy={strategy.name} needs replay samples, and there are none")
    share: float | ShareSchedule = 0.0
    if strategy.mix == "pools":
        share = FixedShare(Fraction(sum(pools.values()), sum(pools.values()) + num_driving))
    elif strategy.mix == "share":
        share = _schedule(mix, settings.num_batches)
    return BatchPlan(
        seed=mix.seed,
        batch_size=settings.batch_size,
        share=share,
        pools=pools,
        num_driving=num_driving,
        loss_weight=1.0 if strategy.mix == "pools" else mix.loss_weight,
        by_size=strategy.mix == "pools",
    )


def contents_of(base: Path, driving: LatentCache, replay: ReplayBuffer | None) -> dict[str, str]:
    """Digests of the start and of all samples, which are read for it: a UserError where any is not as it was written.

    Where they are the same, and the settings are, so are the weights.
    """
    return {
        "base": model_digest(base),
        "driving": driving.digest(),
        "replay": "" if replay is None else replay.digest(),
    }


def facts_of(settings: FineTuneSettings, mix: ReplayMix, plan: BatchPlan) -> dict[str, Any]:
    """What decides the weights beside ``TrainingSettings``, the base and the samples themselves; plain values."""
    strategy = strategy_of(settings.strategy)(settings.strategy_weight)
    facts = {
        "strategy": strategy.name,
        "strategy_weight": strategy.weight,
        "adapter": settings.adapter,
        "lora_rank": settings.lora_rank,
        "share": str(plan.schedule),
        "pools": {DRIVING: plan.num_driving} | dict(plan.pools),
        "replay_seed": plan.seed,
        "loss_weight": plan.loss_weight,
    }
    if is_adaptive(settings, mix):
        facts["adaptive"] = {"tolerance": mix.tolerance, "eval_every": mix.eval_every}
    return facts


def _schedule(mix: ReplayMix, num_batches: int) -> float | ShareSchedule:
    if mix.schedule == "linear" and mix.share != mix.final_share:
        return LinearShare(mix.share, mix.final_share, num_batches)
    return mix.share


def is_adaptive(settings: FineTuneSettings, mix: ReplayMix) -> bool:
    return mix.schedule == "adaptive" and strategy_of(settings.strategy).mix == "share"


def _adapt(settings: FineTuneSettings, mix: ReplayMix, plan: BatchPlan, probe: Probe | None) -> AdaptShare | None:
    if not is_adaptive(settings, mix):
        return None
    if probe is None:
        raise UserError("replay.schedule=adaptive needs a probe that tells what was forgotten")
    return AdaptShare(plan, mix.share, AdaptiveShare(tolerance=mix.tolerance), probe, mix.eval_every)
