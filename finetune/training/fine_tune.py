"""Fine-tuning of a base model with any strategy, from Python: it takes folders and settings only."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger

from driveforge.datasets.domains import DRIVING
from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import make_folder, sha256_file
from driveforge.datasets.files.lock import file_lock
from driveforge.datasets.latents.cache import LatentCache
from driveforge.finetune.strategies.registry import STRATEGIES, get_strategy
from driveforge.finetune.strategies.strategy import NUM_FISHER_SAMPLES, Strategy, StrategyContext
from driveforge.finetune.training.adapters import (
    LORA_FILES,
    Adapters,
    copy_adapters,
    load_adapters,
    merge_adapter,
    set_trainable,
)
from driveforge.finetune.training.distributed import is_sharded
from driveforge.finetune.training.loop import BatchFactory, train
from driveforge.finetune.training.module import WorldModelModule
from driveforge.finetune.training.settings import FineTuneSettings
from driveforge.finetune.training.share_callbacks import AdaptiveShareCallback, ForgettingMetric, ShareLogger
from driveforge.finetune.world_model.codec import count_frames
from driveforge.finetune.world_model.families.registry import TEXT_STORE, Dtype, load_world_model
from driveforge.finetune.world_model.model import WorldModel, compute_model_digest
from driveforge.replay.adaptive_share import AdaptiveShare
from driveforge.replay.buffer import ReplayBuffer
from driveforge.replay.dataset import Batch, plan_loader
from driveforge.replay.mix import ReplayMix
from driveforge.replay.plan import BatchPlan
from driveforge.replay.share import FixedShare, LinearShare, ShareSchedule


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FineTuneResult:
    """``model`` has averaged weights and a merged adapter, and is on the CPU; ``sample_counts`` are by pool.

    ``adapters`` are the weights of the LoRA before it was merged, by transformer; empty without a LoRA.
    In a sharded run only rank 0 has the weights; those of the other ranks are on the meta device.

    ``decisions`` are the (plan step, share) of an adaptive share, else empty.
    """

    model: WorldModel
    adapters: Adapters
    sample_counts: dict[str, int]
    decisions: tuple[tuple[int, float], ...]


def fine_tune(
    base: Path,
    driving: LatentCache,
    replay: ReplayBuffer | None,
    settings: FineTuneSettings,
    mix: ReplayMix,
    folder: Path,
    *,
    forgetting_metric: ForgettingMetric | None = None,
    logger: Logger | bool = False,
    callbacks: Sequence[Callback] = (),
    num_fisher_samples: int = NUM_FISHER_SAMPLES,
    dtype: Dtype = "float32",
) -> FineTuneResult:
    """Fine-tune the model in folder ``base``; checkpoints are written to ``folder`` and resumed from it.

    ``driving`` and ``replay`` must be encoded by the base's VAE. Only an adaptive share needs ``forgetting_metric``,
    only EWC uses ``num_fisher_samples``. ``dtype`` is that of the weights of ``base``. Seeds torch's global generator.
    Raises UserError if the strategy needs replay samples and there are none, if it cannot be sharded as the settings
    say, or if ``folder`` holds another run.
    """
    require_shardable(settings)
    plan = make_batch_plan(settings, mix, len(driving), replay)
    model = _load_trainable_model(base, settings, dtype, driving.folder.parent / TEXT_STORE)
    context = StrategyContext(
        base=base,
        model=model,
        replay=replay,
        folder=folder,
        seed=settings.seed,
        continuation_prob=settings.continuation_prob,
        num_fisher_samples=num_fisher_samples,
    )
    strategy = _prepare_strategy(settings, context)
    config = digest_inputs(base, driving, replay) | resolve_config(settings, mix, plan, num_fisher_samples)
    module = WorldModelModule(model, settings, strategy, config)
    adaptive_callback = _make_adaptive_callback(settings, mix, plan, forgetting_metric)
    current_plan = adaptive_callback.plan if adaptive_callback else lambda: plan
    decided_until = adaptive_callback.decided_until if adaptive_callback else lambda: settings.num_batches
    batches = _make_batch_factory(current_plan, decided_until, driving, replay, settings)
    share_callbacks = [callback for callback in (adaptive_callback, ShareLogger(current_plan)) if callback]
    train(module, batches, folder, logger=logger, callbacks=[*share_callbacks, *callbacks])
    module.copy_ema_to_model()
    model, adapters = _finalize(module, base, driving)
    return FineTuneResult(
        model=model,
        adapters=adapters,
        sample_counts=current_plan().count_samples(settings.num_batches),
        decisions=tuple(adaptive_callback.decisions) if adaptive_callback else (),
    )


def _prepare_strategy(settings: FineTuneSettings, context: StrategyContext) -> Strategy:
    strategy = get_strategy(settings.strategy)(settings.strategy_weight)
    make_folder(context.folder)
    # With several processes, the first one writes the files of the strategy and the others read them.
    with file_lock(context.folder / ".lock"):
        strategy.prepare(context)
    return strategy


def _make_batch_factory(
    current_plan: Callable[[], BatchPlan],
    decided_until: Callable[[], int],
    driving: LatentCache,
    replay: ReplayBuffer | None,
    settings: FineTuneSettings,
) -> BatchFactory:
    """Batches of the current plan; the plan of an adaptive share is only known up to the step ``decided_until()``."""

    def batches(start: int, rank: int, world_size: int) -> Iterator[Batch]:
        while start < settings.num_batches:
            stop = min(decided_until(), settings.num_batches)
            assert start < stop, "the share of a batch is decided before it is loaded"
            span = {"start": start, "stop": stop, "rank": rank, "world_size": world_size}
            yield from plan_loader(current_plan(), driving, replay, num_workers=settings.num_workers, **span)
            start = stop

    return batches


def _load_trainable_model(base: Path, settings: FineTuneSettings, dtype: Dtype, text_store: Path) -> WorldModel:
    torch.manual_seed(settings.seed)
    model = load_world_model(base, dtype, text_store).train()
    set_trainable(model, settings.adapter, settings.lora_rank)
    if settings.lora_start is not None:
        if settings.adapter != "lora":
            raise UserError("finetune.lora_start needs finetune.adapter=lora")
        load_adapters(model, settings.lora_start)
    if settings.compile:
        model.compile_blocks()
    # A sharded model may be too large for one device; each rank moves its part.
    return model if is_sharded(settings) else model.to(torch.accelerator.current_accelerator() or "cpu")


def _finalize(module: WorldModelModule, base: Path, driving: LatentCache) -> tuple[WorldModel, Adapters]:
    """The tuned model, with its adapters merged, and the adapters."""
    model = module.model
    # Clips are of one camera each and equally long.
    num_frames = count_frames(driving.sample(0).tensors["latents"].shape[1], model.codec.temporal_stride)
    trained_frames = max(model.trained_frames, num_frames)
    if model.device.type == "meta":
        return model, {}
    adapters = copy_adapters(model)
    merge_adapter(model)
    tuned = module.strategy.finalize(model, base)
    tuned.trained_frames = trained_frames
    return tuned, adapters


def require_shardable(settings: FineTuneSettings) -> None:
    """Raises UserError if ``settings.parallel`` is ``fsdp`` with a strategy that needs all weights in every process."""
    if settings.parallel == "fsdp" and get_strategy(settings.strategy).needs_whole_model:
        names = [name for name, strategy in STRATEGIES.items() if not strategy.needs_whole_model]
        raise UserError(
            f"finetune.strategy={settings.strategy} needs all weights in every process, which finetune.parallel=fsdp "
            f"divides: use finetune.parallel=ddp, or one of the strategies {', '.join(names)}"
        )


def make_batch_plan(
    settings: FineTuneSettings, mix: ReplayMix, num_driving: int, replay: ReplayBuffer | None
) -> BatchPlan:
    """The batch plan of a run; with an adaptive share, the plan before the first decision."""
    strategy, pools = get_strategy(settings.strategy), {} if replay is None else replay.sizes
    if strategy.needs_buffer and not pools:
        raise UserError(f"finetune.strategy={strategy.name} needs replay samples, and there are none")
    share: float | ShareSchedule = 0.0
    if strategy.replay_mode == "proportional":
        share = FixedShare(Fraction(sum(pools.values()), sum(pools.values()) + num_driving))
    elif strategy.replay_mode == "share":
        share = _make_schedule(mix, settings.num_batches)
    return BatchPlan(
        seed=mix.seed,
        batch_size=settings.batch_size,
        share=share,
        pools=pools,
        num_driving=num_driving,
        loss_weight=1.0 if strategy.replay_mode == "proportional" else mix.loss_weight,
        is_proportional=strategy.replay_mode == "proportional",
    )


def digest_inputs(base: Path, driving: LatentCache, replay: ReplayBuffer | None) -> dict[str, str]:
    """Digests of the base and of all samples. Raises UserError if a sample is damaged.

    With equal digests and settings, the fine-tuned weights are equal.
    """
    return {
        "base": compute_model_digest(base),
        "driving": driving.digest(),
        "replay": "" if replay is None else replay.digest(),
    }


def resolve_config(
    settings: FineTuneSettings, mix: ReplayMix, plan: BatchPlan, num_fisher_samples: int = NUM_FISHER_SAMPLES
) -> dict[str, Any]:
    """What the weights depend on besides ``TrainingSettings``, the base and the samples, as plain values."""
    strategy = get_strategy(settings.strategy)(settings.strategy_weight)
    resolved_config: dict[str, Any] = {
        "strategy": strategy.name,
        "strategy_weight": strategy.weight,
        "adapter": settings.adapter,
        "lora_rank": settings.lora_rank,
        "share": str(plan.schedule),
        "pools": {DRIVING: plan.num_driving} | dict(plan.pools),
        "replay_seed": plan.seed,
        "loss_weight": plan.loss_weight,
    }
    if settings.lora_start is not None:
        files = [settings.lora_start / name for name in LORA_FILES.values()]
        resolved_config["lora_start"] = [sha256_file(path) for path in files if path.is_file()]
    if is_adaptive(settings, mix):
        resolved_config["adaptive"] = {"tolerance": mix.tolerance, "eval_every": mix.eval_every}
    if num_fisher_samples != NUM_FISHER_SAMPLES:
        resolved_config["num_fisher_samples"] = num_fisher_samples
    return resolved_config


def _make_schedule(mix: ReplayMix, num_batches: int) -> float | ShareSchedule:
    if mix.schedule == "linear" and mix.share != mix.final_share:
        return LinearShare(mix.share, mix.final_share, num_batches)
    return mix.share


def is_adaptive(settings: FineTuneSettings, mix: ReplayMix) -> bool:
    return mix.schedule == "adaptive" and get_strategy(settings.strategy).replay_mode == "share"


def _make_adaptive_callback(
    settings: FineTuneSettings, mix: ReplayMix, plan: BatchPlan, forgetting_metric: ForgettingMetric | None
) -> AdaptiveShareCallback | None:
    if not is_adaptive(settings, mix):
        return None
    if forgetting_metric is None:
        raise UserError("replay.schedule=adaptive needs a forgetting_metric")
    return AdaptiveShareCallback(
        plan, mix.share, AdaptiveShare(tolerance=mix.tolerance), forgetting_metric, mix.eval_every
    )
