"""What every strategy adds, held against its formula computed by hand."""

from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import torch
from torch import Tensor

from driveforge.datasets.errors import UserError
from driveforge.datasets.latents.cache import LatentCache
from driveforge.finetune.strategies import der, fisher
from driveforge.finetune.strategies.registry import STRATEGIES
from driveforge.finetune.strategies.strategy import Prediction, RecordingModel, Strategy, StrategyContext
from driveforge.finetune.strategies.weight_delta import (
    compute_weight_delta,
    copy_trainable_weights,
    get_effective_weights,
)
from driveforge.finetune.training.adapters import merge_adapter, set_trainable
from driveforge.finetune.training.fine_tune import fine_tune, make_batch_plan
from driveforge.finetune.training.settings import FineTuneSettings
from driveforge.finetune.world_model.conditions import stack_conditions
from driveforge.finetune.world_model.flow import NoiseSample, flow_matching_loss, sample_noise
from driveforge.finetune.world_model.model import WorldModel
from driveforge.replay.buffer import ReplayBuffer
from driveforge.replay.dataset import Batch, plan_loader
from tests.finetune.small_fine_tune import fickle_probe, prepare_root, run, settings_for

SHAPE = (4, 5, 4, 6)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("strategies")
    prepare_root(root)
    return root


@pytest.fixture
def buffer(root: Path) -> ReplayBuffer:
    return ReplayBuffer.open(root / "buffer")


def ground_of(root: Path, folder: Path, adapter: str = "full") -> StrategyContext:
    torch.manual_seed(0)
    model = WorldModel.from_pretrained(root / "base").train()
    set_trainable(model, adapter, rank=2)  # type: ignore[arg-type]
    replay = ReplayBuffer.open(root / "buffer")
    return StrategyContext(base=root / "base", model=model, replay=replay, folder=folder, seed=3, continuation_prob=0.5)


def move(model: WorldModel) -> None:
    """Some training, without the training."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p += 0.02 * torch.randn(p.shape, generator=generator)


def a_batch(root: Path, buffer: ReplayBuffer, step: int = 0) -> Batch:
    cache = LatentCache(root / "latents", "key")
    plan = make_batch_plan(*settings_for("replay"), len(cache), buffer)
    return next(iter(plan_loader(plan, cache, buffer, start=step, stop=step + 1)))


def ask(strategy: Strategy, model: WorldModel, batch: Batch, seed: int = 3) -> tuple[Prediction, NoiseSample, Tensor]:
    """What happens in a training step: the prediction, the draws it was made at, and the flow losses."""
    noise_sample = strategy.adjust_noise(
        batch, sample_noise(seed, batch["step"], batch["slot"].tolist(), SHAPE, continuation_prob=0.5)
    )
    heard = RecordingModel(model)
    conditions = stack_conditions(batch, batch["domain"], batch["caption"], model.config.domains)
    losses = flow_matching_loss(heard, batch["latents"], batch["cell_weight"], conditions, noise_sample)
    return heard.prediction, noise_sample, losses


def test_the_setting_names_every_strategy() -> None:
    hint: Any = get_type_hints(FineTuneSettings)["strategy"]
    assert set(get_args(hint)) == set(STRATEGIES)


@pytest.mark.parametrize("adapter", ["full", "lora"])
@pytest.mark.parametrize("name", ["replay+distill", "l2sp", "ewc", "ewc-rank1"])
def test_nothing_is_added_before_anything_has_moved(
    root: Path, buffer: ReplayBuffer, tmp_path: Path, name: str, adapter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fisher, "NUM_GRADIENTS", 4)
    ground, batch = ground_of(root, tmp_path, adapter), a_batch(root, buffer)
    trained = list(copy_trainable_weights(ground.model))
    strategy = STRATEGIES[name](weight=1.0)
    strategy.prepare(ground)
    assert list(copy_trainable_weights(ground.model)) == trained, "what is trained stays so"
    prediction, _, _ = ask(strategy, ground.model, batch)
    # The teacher is asked about some of the samples, so not quite 0.
    assert all(term.item() < 1e-10 for term in strategy.loss_terms(ground.model, batch, prediction).values())
    move(ground.model)
    prediction, _, losses = ask(strategy, ground.model, batch)
    (term,) = strategy.loss_terms(ground.model, batch, prediction).values()
    assert term.item() > 0
    (losses.mean() + term).backward()
    assert all(p.grad is not None for name, p in ground.model.named_parameters() if "lora" in name)


@pytest.mark.parametrize("adapter", ["full", "lora"])
def test_distilling_compares_with_the_base_where_samples_are_replayed(
    root: Path, buffer: ReplayBuffer, tmp_path: Path, adapter: str
) -> None:
    ground, batch = ground_of(root, tmp_path, adapter), a_batch(root, buffer)
    strategy = STRATEGIES["replay+distill"](weight=2.0)
    strategy.prepare(ground)
    move(ground.model)
    prediction, _, _ = ask(strategy, ground.model, batch)
    base = WorldModel.from_pretrained(root / "base")
    conditions = prediction.conditions
    with torch.no_grad():
        taught = base(prediction.noisy, prediction.sigma, conditions)
    weight = (batch["cell_weight"] * (1 - conditions.context_mask[:, 0])).expand(-1, -1, 4, 6)
    error = (prediction.velocity - taught).square().mean(1)
    errors = (error * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3))
    assert batch["is_replay"].tolist() == [False, False, True, True]
    wanted = 2.0 * (errors[2] + errors[3]) / 4
    torch.testing.assert_close(
        strategy.loss_terms(ground.model, batch, prediction)["distill"], wanted, rtol=1e-4, atol=1e-7
    )


def test_dark_replay_matches_what_the_base_said_at_one_noise_a_sample(
    root: Path, buffer: ReplayBuffer, tmp_path: Path
) -> None:
    ground = ground_of(root, tmp_path)
    strategy = STRATEGIES["der"](weight=1.0)
    strategy.prepare(ground)
    seen: dict[str, set[float]] = {}
    num_replayed = num_matched = 0
    for step in range(24):
        batch = a_batch(root, buffer, step)
        prediction, noise_sample, _ = ask(strategy, ground.model, batch)
        fresh = sample_noise(3, step, batch["slot"].tolist(), SHAPE, continuation_prob=0.5)
        is_matched = (noise_sample.noise != fresh.noise).flatten(1).any(1)
        assert not (is_matched & ~batch["is_replay"]).any(), "driving samples have fresh noise"
        num_replayed, num_matched = num_replayed + int(batch["is_replay"].sum()), num_matched + int(is_matched.sum())
        for row in is_matched.nonzero()[:, 0].tolist():
            seen.setdefault(batch["clip_id"][row], set()).add(float(noise_sample.sigma[row]))
        term = strategy.loss_terms(ground.model, batch, prediction).get("der", torch.tensor(0.0))
        assert float(term) < 1e-6, "the base says what it said, but for half precision"
    assert num_replayed == 48 and 12 < num_matched < 36
    assert len(seen) == 8 and all(len(sigmas) == 1 for sigmas in seen.values())
    assert len(set.union(*seen.values())) == 8
    move(ground.model)
    matched = [a_batch(root, buffer, step) for step in range(24)]
    loss_terms = [strategy.loss_terms(ground.model, b, ask(strategy, ground.model, b)[0]) for b in matched]
    assert max(float(term["der"]) for term in loss_terms if term) > 1e-4


def test_targets_are_made_once_and_taken_up_where_they_were_left(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground, made = ground_of(root, tmp_path / "broken"), []

    def target(*given: Any, real: Any = der._compute_target) -> Any:
        made.append(given[1].clip_id)
        if len(made) == 4:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(der, "_compute_target", target)
    with pytest.raises(KeyboardInterrupt):
        STRATEGIES["der"]().prepare(ground)
    STRATEGIES["der"]().prepare(ground)
    assert len(made) == 1 + 8 and len(set(made)) == 8
    STRATEGIES["der"]().prepare(ground_of(root, tmp_path / "broken"))
    assert len(made) == 9
    STRATEGIES["der"]().prepare(ground_of(root, tmp_path / "whole"))
    (broken,), (whole,) = ((tmp_path / name).rglob("shard-*.safetensors") for name in ("broken", "whole"))
    assert broken.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("adapter", ["full", "lora"])
def test_displacement_is_what_the_merged_model_differs_by(root: Path, tmp_path: Path, adapter: str) -> None:
    model = ground_of(root, tmp_path, adapter).model
    start, names = (
        copy_trainable_weights(model),
        [name.replace(".base_layer", "") for name in get_effective_weights(model)],
    )
    move(model)
    moved = compute_weight_delta(model, start)
    assert sorted(moved) == sorted(names)
    merge_adapter(model)
    base = WorldModel.from_pretrained(root / "base").state_dict()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value - base[name], moved.get(name, torch.zeros_like(value)), rtol=1e-3, atol=1e-6)


def test_l2sp_is_half_the_squared_distance(root: Path, buffer: ReplayBuffer, tmp_path: Path) -> None:
    ground, batch = ground_of(root, tmp_path), a_batch(root, buffer)
    strategy = STRATEGIES["l2sp"](weight=0.3)
    strategy.prepare(ground)
    move(ground.model)
    base = WorldModel.from_pretrained(root / "base")
    pairs = zip(ground.model.parameters(), base.parameters(), strict=True)
    distance = sum(float((mine - theirs).double().square().sum()) for mine, theirs in pairs)
    term = strategy.loss_terms(ground.model, batch, ask(strategy, ground.model, batch)[0])["l2sp"]
    assert float(term) == pytest.approx(0.15 * distance, rel=1e-5)


@pytest.mark.parametrize("adapter", ["full", "lora"])
def test_fishers_are_those_of_single_gradients(
    root: Path, buffer: ReplayBuffer, tmp_path: Path, adapter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fisher, "NUM_GRADIENTS", 5)
    ground = ground_of(root, tmp_path, adapter)
    rows = torch.stack([_flat(gradient) for gradient in fisher.compute_gradients(ground, buffer)]).double()
    assert rows.shape[0] == 5
    move(ground.model)
    strategies = [STRATEGIES["ewc"](weight=2.0), STRATEGIES["ewc-rank1"](weight=2.0)]
    for strategy in strategies:
        strategy.prepare(ground_of(root, tmp_path, adapter))
    start = copy_trainable_weights(ground_of(root, tmp_path, adapter).model)
    moved = _flat(compute_weight_delta(ground.model, start)).double()
    diagonal, mean = rows.square().mean(0), rows.mean(0)
    coefficient = (rows @ mean).square().mean() / mean.square().sum() ** 2
    wanted = [(diagonal * moved.square()).sum(), coefficient * (mean @ moved) ** 2]
    batch = a_batch(root, buffer)
    for strategy, value in zip(strategies, wanted, strict=True):
        term = strategy.loss_terms(ground.model, batch, ask(strategy, ground.model, batch)[0])[strategy.name]
        torch.testing.assert_close(term.double(), value, rtol=1e-3, atol=1e-12)


def _flat(weights: dict[str, Tensor]) -> Tensor:
    return torch.cat([weights[name].detach().flatten() for name in sorted(weights)])


def test_fishers_are_kept_and_found_again(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fisher, "NUM_GRADIENTS", 4)
    STRATEGIES["ewc"]().prepare(ground_of(root, tmp_path))
    assert [path.name.startswith("ewc-") for path in tmp_path.glob("*.safetensors")] == [True]
    monkeypatch.setattr(fisher, "compute_gradients", None)
    STRATEGIES["ewc"]().prepare(ground_of(root, tmp_path))


def test_a_stronger_pull_holds_the_weights_closer(root: Path) -> None:
    def distance(weight: float) -> float:
        tuned = run(root, f"pull {weight}", settings_for("l2sp", strategy_weight=weight)).model.state_dict()
        base = WorldModel.from_pretrained(root / "base").state_dict()
        return sum(float((tuned[name] - base[name]).square().sum()) for name in base)

    assert distance(100.0) < 0.7 * distance(0.0)


def test_joint_takes_every_sample_of_all_pools_once_an_epoch(buffer: ReplayBuffer) -> None:
    plan = make_batch_plan(*settings_for("joint", batch_size=6), 10, buffer)
    drawn = [(slot.pool, slot.index) for step in range(3) for slot in plan.batch(step)]
    assert len(drawn) == len(set(drawn)) == 18 == 10 + len(buffer)
    assert plan.count_samples(3) == {"driving": 10, "falling": 4, "orbit": 4}


def test_interpolate_ends_between_the_base_and_the_naive_model(root: Path) -> None:
    base = WorldModel.from_pretrained(root / "base").state_dict()
    naive = run(root, "naive", settings_for("naive")).model.state_dict()
    mixed = run(root, "mixed", settings_for("interpolate", strategy_weight=0.25)).model.state_dict()
    for name, value in mixed.items():
        torch.testing.assert_close(value, 0.75 * base[name] + 0.25 * naive[name])


def test_what_a_strategy_lacks_is_said(root: Path, tmp_path: Path) -> None:
    cache = LatentCache(root / "latents", "key")
    for name in ("ewc", "ewc-rank1", "joint"):
        with pytest.raises(UserError, match=f"finetune.strategy={name} needs replay samples"):
            fine_tune(root / "base", cache, None, *settings_for(name), tmp_path)
    with pytest.raises(UserError, match="no strategy 'lwf'; there are naive, replay"):
        fine_tune(root / "base", cache, None, *settings_for("lwf"), tmp_path)
    with pytest.raises(UserError, match="adaptive needs a probe"):
        run(root, "blind", settings_for("replay", schedule="adaptive"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"strategy": "l2sp"}, "strategy was replay, is l2sp"),
        ({"strategy_weight": 0.5}, "strategy_weight was 0.0, is 0.5"),
        ({"share": 0.3}, r"share was FixedShare\(share=0.5\), is FixedShare\(share=0.3\)"),
        ({"schedule": "adaptive"}, "adaptive was None, is {"),
    ],
)
def test_a_checkpoint_of_another_strategy_or_share_is_refused(root: Path, changes: dict[str, Any], words: str) -> None:
    run(root, "first", settings_for("replay", steps=2))
    with pytest.raises(UserError, match=words):
        run(
            root,
            "first",
            settings_for(changes.pop("strategy", "replay"), steps=4, **changes),
            forgetting_metric=fickle_probe,
        )
