"""Fine-tuning by ranks that share one model: the strategies, the adaptive share and evaluations."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from driveforge.datasets.errors import UserError
from driveforge.finetune.evaluation.callback import EvaluationCallback
from driveforge.finetune.evaluation.clips import make_evaluation_set
from driveforge.finetune.evaluation.loss_forgetting import make_loss_forgetting_metric
from driveforge.finetune.evaluation.results import read_evaluations
from driveforge.finetune.strategies.registry import STRATEGIES
from driveforge.finetune.training.fine_tune import FineTuneResult
from driveforge.finetune.world_model.families.registry import load_world_model
from driveforge.finetune.world_model.model import WorldModel
from tests.defaults import evaluation_settings
from tests.finetune.evaluation.sliding_board import make_sliding_clip
from tests.finetune.ranks import one_rank, rank_server, run_ranks
from tests.finetune.small_fine_tune import prepare_root, run, settings_for

STEPS = 4
SHARDABLE = ("naive", "replay", "joint", "interpolate")
VARIANTS: dict[str, dict[str, Any]] = {name: {"strategy": name} for name in SHARDABLE} | {
    "adaptive": {"strategy": "replay", "schedule": "adaptive", "adapter": "lora"}
}


def fine_tune_variant(root: Path, name: str, folder: str, **changes: Any) -> FineTuneResult:
    """A fine-tune that is evaluated every second step, as is the forgetting of an adaptive share."""
    settings = evaluation_settings(dynamics=False, sigma_edges=(0.5, 1.0))
    base = load_world_model(root / "base")
    evaluation_set = make_evaluation_set(base.encoder, [make_sliding_clip()])
    domains = {clip.domain for clip in evaluation_set.clips}
    metric = make_loss_forgetting_metric(base, evaluation_set, settings, domains)
    callback = EvaluationCallback(evaluation_set, settings, root / f"{folder}.parquet", steps=2, base="base")
    callbacks = [callback] if name == "adaptive" else []
    chosen = settings_for(**{"steps": STEPS} | VARIANTS[name] | changes)
    return run(root, folder, chosen, *callbacks, forgetting_metric=metric)


def fine_tune_rank(root: Path) -> None:
    for name in VARIANTS:
        tuned = fine_tune_variant(root, name, f"{name} sharded", parallel="fsdp")
        if torch.distributed.get_rank() == 0:
            tuned.model.save_pretrained(root / f"{name} tuned")
            (root / f"{name} decisions").write_text(str(tuned.decisions))
    fine_tune_variant(root, "adaptive", "bf16", parallel="fsdp", precision="bf16")


def fine_tune_compiled_rank(root: Path) -> None:
    chosen = {"compile": True, "gradient_checkpointing": True, "precision": "bf16"}
    tuned = fine_tune_variant(root, "adaptive", "compiled", parallel="fsdp", **chosen)
    if torch.distributed.get_rank() == 0:
        tuned.model.save_pretrained(root / "compiled tuned")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("sharded fine tunes")
    prepare_root(root)
    with rank_server("tests.finetune.training.test_sharded_fine_tune"):
        assert run_ranks(2, fine_tune_rank, root) == [0, 0]
        yield root


def require_close(found: WorldModel, expected: WorldModel, atol: float = 1e-5) -> None:
    values = found.state_dict()
    assert values.keys() == expected.state_dict().keys()
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(values[name], value, rtol=0, atol=atol, msg=name)


@pytest.mark.parametrize("name", VARIANTS)
def test_two_sharded_ranks_save_the_model_of_one_process(root: Path, name: str) -> None:
    whole = fine_tune_variant(root, name, name)
    require_close(load_world_model(root / f"{name} tuned"), whole.model)
    assert (root / f"{name} decisions").read_text() == str(whole.decisions)


def test_evaluations_of_a_sharded_model_are_those_of_a_whole_one(root: Path) -> None:
    fine_tune_variant(root, "adaptive", "whole")
    sharded, whole = (read_evaluations(root / f"{name}.parquet") for name in ("adaptive sharded", "whole"))
    assert list(sharded) == [(0, "base"), (2, "step-2"), (4, "step-4")]
    for key, evaluation in whole.items():
        assert sharded[key].means() == pytest.approx(evaluation.means(), rel=1e-4)
    in_bf16 = read_evaluations(root / "bf16.parquet")
    assert in_bf16[(4, "step-4")].means() == pytest.approx(whole[(4, "step-4")].means(), rel=0.05)


def test_one_sharded_rank_equals_one_process(root: Path) -> None:
    with one_rank():
        sharded = fine_tune_variant(root, "adaptive", "one rank", parallel="fsdp")
    whole = fine_tune_variant(root, "adaptive", "no ranks")
    require_close(sharded.model, whole.model)
    assert sharded.decisions == whole.decisions


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_compiled_blocks_are_sharded_too(root: Path) -> None:
    assert run_ranks(2, fine_tune_compiled_rank, root) == [0, 0]
    expected = load_world_model(root / "adaptive tuned")
    require_close(load_world_model(root / "compiled tuned"), expected, atol=5e-3)


@pytest.mark.parametrize("name", sorted(STRATEGIES.keys() - set(SHARDABLE)))
def test_a_strategy_that_needs_the_whole_model_is_refused_at_once(root: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"=fsdp divides: use .*parallel=ddp, or .* naive, replay, joint, interpolate"):
        run(root, "refused", settings_for(name, parallel="fsdp"))
    assert not (root / "refused").exists()
