"""The loss terms of every strategy, compared with their formulas."""

from pathlib import Path
from typing import Any, Literal, get_args

import pytest
import torch
from torch import Tensor

from driveforge.datasets.errors import UserError
from driveforge.datasets.latents.cache import LatentCache
from driveforge.finetune.strategies import der, fisher
from driveforge.finetune.strategies.names import StrategyName
from driveforge.finetune.strategies.registry import STRATEGIES
from driveforge.finetune.strategies.strategy import Prediction, RecordingModel, Strategy, StrategyContext
from driveforge.finetune.strategies.weight_delta import (
    compute_weight_delta,
    copy_trainable_weights,
    get_effective_weights,
)
from driveforge.finetune.training.adapters import merge_adapter, set_trainable
from driveforge.finetune.training.fine_tune import fine_tune, make_batch_plan
from driveforge.finetune.world_model.clip_tensors import ClipTensors
from driveforge.finetune.world_model.families.registry import load_world_model
from driveforge.finetune.world_model.families.tiny import TinyWorldModel
from driveforge.finetune.world_model.flow import NoiseSample, flow_matching_loss, sample_noise
from driveforge.replay.buffer import ReplayBuffer
from driveforge.replay.dataset import Batch, plan_loader
from tests.finetune.small_fine_tune import prepare_root, run, settings_for

SHAPE = (4, 5, 4, 6)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("strategies")
    prepare_root(root)
    return root


@pytest.fixture
def buffer(root: Path) -> ReplayBuffer:
    return ReplayBuffer.open(root / "buffer")


def make_context(
    root: Path, folder: Path, adapter: Literal["full", "lora"] = "full", num_fisher_samples: int = 4
) -> StrategyContext:
    torch.manual_seed(0)
    model = load_world_model(root / "base").train()
    set_trainable(model, adapter, rank=2)
    return StrategyContext(
        base=root / "base",
        model=model,
        replay=ReplayBuffer.open(root / "buffer"),
        folder=folder,
        seed=3,
        continuation_prob=0.5,
        num_fisher_samples=num_fisher_samples,
    )


def perturb(model: TinyWorldModel) -> None:
    """Change the trainable weights, as training would."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p += 0.02 * torch.randn(p.shape, generator=generator)


def load_batch(root: Path, buffer: ReplayBuffer, step: int = 0) -> Batch:
    cache = LatentCache(root / "latents", "key")
    plan = make_batch_plan(*settings_for("replay"), len(cache), buffer)
    batch: Batch = next(iter(plan_loader(plan, cache, buffer, start=step, stop=step + 1)))
    return batch


def predict(
    strategy: Strategy, model: TinyWorldModel, batch: Batch, seed: int = 3
) -> tuple[Prediction, NoiseSample, Tensor]:
    """The prediction of a training step, its noise, and the flow losses."""
    noise_sample = strategy.adjust_noise(
        batch, sample_noise(seed, batch.step, batch.slot.tolist(), SHAPE, continuation_prob=0.5)
    )
    clips = ClipTensors.from_mapping(batch.tensors)
    recording_model = RecordingModel(model, clips.cell_weight)
    conditions = model.batch_conditions(clips, batch.domain, batch.caption)
    losses = flow_matching_loss(recording_model, clips.latents, clips.cell_weight, conditions, noise_sample)
    return recording_model.prediction, noise_sample, losses


def test_the_setting_names_every_strategy() -> None:
    assert set(get_args(StrategyName)) == set(STRATEGIES)


@pytest.mark.parametrize("adapter", ["full", "lora"])
@pytest.mark.parametrize("name", ["replay+distill", "l2sp", "ewc", "ewc-rank1"])
def test_loss_terms_are_zero_at_the_initial_weights(
    root: Path, buffer: ReplayBuffer, tmp_path: Path, name: str, adapter: Literal["full", "lora"]
) -> None:
    context, batch = make_context(root, tmp_path, adapter), load_batch(root, buffer)
    trained = list(copy_trainable_weights(context.model))
    strategy = STRATEGIES[name](weight=1.0)
    strategy.prepare(context)
    assert list(copy_trainable_weights(context.model)) == trained, "the same weights are trainable"
    prediction, _, _ = predict(strategy, context.model, batch)
    # Not exactly 0, because the teacher's batch has only the replayed samples.
    assert all(term.item() < 1e-10 for term in strategy.loss_terms(context.model, batch, prediction).values())
    perturb(context.model)
    prediction, _, losses = predict(strategy, context.model, batch)
    (term,) = strategy.loss_terms(context.model, batch, prediction).values()
    assert term.item() > 0
    (losses.mean() + term).backward()
    assert all(p.grad is not None for name, p in context.model.named_parameters() if "lora" in name)


@pytest.mark.parametrize("adapter", ["full", "lora"])
def test_distillation_compares_replayed_samples_with_the_base(
    root: Path, buffer: ReplayBuffer, tmp_path: Path, adapter: Literal["full", "lora"]
) -> None:
    context, batch = make_context(root, tmp_path, adapter), load_batch(root, buffer)
    strategy = STRATEGIES["replay+distill"](weight=2.0)
    strategy.prepare(context)
    perturb(context.model)
    prediction, _, _ = predict(strategy, context.model, batch)
    base = load_world_model(root / "base")
    conditions = prediction.conditions
    with torch.no_grad():
        target = base(prediction.noisy, prediction.sigma, conditions)
    weight = (batch.tensors["cell_weight"] * (1 - conditions.context_mask[:, 0])).expand(-1, -1, 4, 6)
    error = (prediction.velocity - target).square().mean(1)
    errors = (error * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3))
    assert batch.is_replay.tolist() == [False, False, True, True]
    expected = 2.0 * (errors[2] + errors[3]) / 4
    torch.testing.assert_close(
        strategy.loss_terms(context.model, batch, prediction)["distill"], expected, rtol=1e-4, atol=1e-7
    )


def test_a_fine_tune_on_longer_clips_is_recorded(root: Path, tmp_path: Path) -> None:
    for trained, expected in ((3, 5), (17, 17)):
        base = load_world_model(root / "base")
        base.trained_frames = trained
        base.save_pretrained(tmp_path / f"base-{trained}")
        cache = LatentCache(root / "latents", "key")
        settings = settings_for("naive", steps=1)
        tuned = fine_tune(tmp_path / f"base-{trained}", cache, None, *settings, tmp_path / f"run-{trained}")
        assert tuned.model.trained_frames == expected, "the clips have 5 frames"


def test_dark_replay_leaves_the_context_of_stored_noise_clean(root: Path, buffer: ReplayBuffer, tmp_path: Path) -> None:
    context = make_context(root, tmp_path)
    strategy = STRATEGIES["der"](weight=1.0)
    strategy.prepare(context)
    is_stored = []
    for step in range(12):
        batch = load_batch(root, buffer, step)
        fresh = sample_noise(3, step, batch.slot.tolist(), SHAPE, continuation_prob=0.5, max_context_noise=0.3)
        adjusted = strategy.adjust_noise(batch, fresh)
        assert fresh.context_noise is not None and adjusted.context_noise is not None
        stored = (adjusted.noise != fresh.noise).flatten(1).any(1)
        assert not adjusted.context_noise.level[stored].any(), "the base's velocities are those of clean context frames"
        assert torch.equal(adjusted.context_noise.level[~stored], fresh.context_noise.level[~stored])
        is_stored += stored.tolist()
    assert 0 < sum(is_stored) < len(is_stored)


def test_dark_replay_matches_the_velocity_of_the_base_at_one_noise_per_sample(
    root: Path, buffer: ReplayBuffer, tmp_path: Path
) -> None:
    context = make_context(root, tmp_path)
    strategy = STRATEGIES["der"](weight=1.0)
    strategy.prepare(context)
    sigmas_of: dict[str, set[float]] = {}
    num_replayed = num_matched = 0
    for step in range(24):
        batch = load_batch(root, buffer, step)
        prediction, noise_sample, _ = predict(strategy, context.model, batch)
        fresh = sample_noise(3, step, batch.slot.tolist(), SHAPE, continuation_prob=0.5)
        is_matched = (noise_sample.noise != fresh.noise).flatten(1).any(1)
        assert not (is_matched & ~batch.is_replay).any(), "driving samples have new noise"
        num_replayed, num_matched = num_replayed + int(batch.is_replay.sum()), num_matched + int(is_matched.sum())
        for row in is_matched.nonzero()[:, 0].tolist():
            sigmas_of.setdefault(batch.clip_id[row], set()).add(float(noise_sample.sigma[row]))
        term = strategy.loss_terms(context.model, batch, prediction).get("der", torch.tensor(0.0))
        assert float(term) < 1e-6, "the weights are the base's, and the error is that of half precision"
    assert num_replayed == 48 and 12 < num_matched < 36
    assert len(sigmas_of) == 8 and all(len(sigmas) == 1 for sigmas in sigmas_of.values())
    assert len(set.union(*sigmas_of.values())) == 8
    perturb(context.model)
    matched = [load_batch(root, buffer, step) for step in range(24)]
    loss_terms = [strategy.loss_terms(context.model, b, predict(strategy, context.model, b)[0]) for b in matched]
    assert max(float(term["der"]) for term in loss_terms if term) > 1e-4


def test_targets_are_computed_once_and_resumed(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context, computed = make_context(root, tmp_path / "interrupted"), []

    def compute_target(*args: Any, real: Any = der._compute_target) -> Any:
        computed.append(args[1].clip_id)
        if len(computed) == 4:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(der, "_compute_target", compute_target)
    with pytest.raises(KeyboardInterrupt):
        STRATEGIES["der"]().prepare(context)
    STRATEGIES["der"]().prepare(context)
    assert len(computed) == 1 + 8 and len(set(computed)) == 8
    STRATEGIES["der"]().prepare(make_context(root, tmp_path / "interrupted"))
    assert len(computed) == 9
    STRATEGIES["der"]().prepare(make_context(root, tmp_path / "whole"))
    (interrupted,), (whole,) = ((tmp_path / name).rglob("shard-*.safetensors") for name in ("interrupted", "whole"))
    assert interrupted.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("adapter", ["full", "lora"])
def test_weight_delta_is_the_difference_of_the_merged_model(
    root: Path, tmp_path: Path, adapter: Literal["full", "lora"]
) -> None:
    model = make_context(root, tmp_path, adapter).model
    start = copy_trainable_weights(model)
    names = [name.replace(".base_layer", "") for name in get_effective_weights(model)]
    perturb(model)
    delta = compute_weight_delta(model, start)
    assert sorted(delta) == sorted(names)
    merge_adapter(model)
    base = load_world_model(root / "base").state_dict()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value - base[name], delta.get(name, torch.zeros_like(value)), rtol=1e-3, atol=1e-6)


def test_l2sp_is_half_the_weighted_squared_distance(root: Path, buffer: ReplayBuffer, tmp_path: Path) -> None:
    context, batch = make_context(root, tmp_path), load_batch(root, buffer)
    strategy = STRATEGIES["l2sp"](weight=0.3)
    strategy.prepare(context)
    perturb(context.model)
    base = load_world_model(root / "base")
    pairs = zip(context.model.parameters(), base.parameters(), strict=True)
    distance = sum(float((perturbed - initial).double().square().sum()) for perturbed, initial in pairs)
    term = strategy.loss_terms(context.model, batch, predict(strategy, context.model, batch)[0])["l2sp"]
    assert float(term) == pytest.approx(0.15 * distance, rel=1e-5)


@pytest.mark.parametrize("adapter", ["full", "lora"])
def test_the_fisher_is_that_of_single_gradients(
    root: Path, buffer: ReplayBuffer, tmp_path: Path, adapter: Literal["full", "lora"]
) -> None:
    context = make_context(root, tmp_path, adapter)
    rows = torch.stack([_flat(gradient) for gradient in fisher.compute_gradients(context, buffer)]).double()
    assert rows.shape[0] == context.num_fisher_samples == 4
    perturb(context.model)
    strategies = [STRATEGIES["ewc"](weight=2.0), STRATEGIES["ewc-rank1"](weight=2.0)]
    for strategy in strategies:
        strategy.prepare(make_context(root, tmp_path, adapter))
    start = copy_trainable_weights(make_context(root, tmp_path, adapter).model)
    delta = _flat(compute_weight_delta(context.model, start)).double()
    diagonal, mean = rows.square().mean(0), rows.mean(0)
    coefficient = (rows @ mean).square().mean() / mean.square().sum() ** 2
    expected = [(diagonal * delta.square()).sum(), coefficient * (mean @ delta) ** 2]
    batch = load_batch(root, buffer)
    for strategy, value in zip(strategies, expected, strict=True):
        prediction, _, _ = predict(strategy, context.model, batch)
        term = strategy.loss_terms(context.model, batch, prediction)[strategy.name]
        torch.testing.assert_close(term.double(), value, rtol=1e-3, atol=1e-12)


def _flat(weights: dict[str, Tensor]) -> Tensor:
    return torch.cat([weights[name].detach().flatten() for name in sorted(weights)])


def test_the_fisher_is_stored_and_read_again(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    STRATEGIES["ewc"]().prepare(make_context(root, tmp_path))
    assert [path.name.startswith("ewc-") for path in tmp_path.glob("*.safetensors")] == [True]
    monkeypatch.setattr(fisher, "compute_gradients", None)
    STRATEGIES["ewc"]().prepare(make_context(root, tmp_path))


def test_a_larger_weight_keeps_the_weights_closer_to_the_base(root: Path) -> None:
    def distance(weight: float) -> float:
        tuned = run(root, f"l2sp {weight}", settings_for("l2sp", strategy_weight=weight)).model.state_dict()
        base = load_world_model(root / "base").state_dict()
        return sum(float((tuned[name] - base[name]).square().sum()) for name in base)

    assert distance(100.0) < 0.7 * distance(0.0)


def test_joint_takes_every_sample_of_all_pools_once_per_epoch(buffer: ReplayBuffer) -> None:
    plan = make_batch_plan(*settings_for("joint", batch_size=6), 10, buffer)
    samples = [(slot.pool, slot.index) for step in range(3) for slot in plan.batch(step)]
    assert len(samples) == len(set(samples)) == 18 == 10 + len(buffer)
    assert plan.count_samples(3) == {"driving": 10, "falling": 4, "orbit": 4}


def test_interpolate_returns_the_mean_of_the_base_and_the_naive_model(root: Path) -> None:
    base = load_world_model(root / "base").state_dict()
    naive = run(root, "naive", settings_for("naive")).model.state_dict()
    interpolated = run(root, "interpolated", settings_for("interpolate", strategy_weight=0.25)).model.state_dict()
    for name, value in interpolated.items():
        torch.testing.assert_close(value, 0.75 * base[name] + 0.25 * naive[name])


def test_missing_inputs_of_a_strategy_are_named(root: Path, tmp_path: Path) -> None:
    cache = LatentCache(root / "latents", "key")
    for name in ("ewc", "ewc-rank1", "joint"):
        with pytest.raises(UserError, match=f"finetune.strategy={name} needs replay samples"):
            fine_tune(root / "base", cache, None, *settings_for(name), tmp_path)
    with pytest.raises(UserError, match="no strategy 'lwf'; there are naive, replay"):
        fine_tune(root / "base", cache, None, *settings_for("lwf"), tmp_path)
    with pytest.raises(UserError, match="adaptive needs a forgetting_metric"):
        run(root, "without a metric", settings_for("replay", schedule="adaptive"))
