"""Evaluation does not change the weights of a run, resumed or not."""

from pathlib import Path

import pytest
import torch

from driveforge.finetune.evaluation.callback import EvaluationCallback
from driveforge.finetune.evaluation.clips import EvaluationSet, make_evaluation_set
from driveforge.finetune.evaluation.results import read_evaluations
from driveforge.finetune.training.module import WorldModelModule
from driveforge.finetune.world_model.families.tiny import TinyWorldModel
from tests.defaults import evaluation_settings
from tests.finetune.evaluation.sliding_board import make_sliding_clip
from tests.finetune.small_run import TINY, run

STEPS = 5
SETTINGS = evaluation_settings(dynamics=False, sigma_edges=(0.5, 1.0))


@pytest.fixture(scope="module")
def evaluation_set() -> EvaluationSet:
    torch.manual_seed(0)  # as in ``run``, so that the VAE is the same
    return make_evaluation_set(TinyWorldModel.from_config(TINY).encoder, [make_sliding_clip()])


def weights(module: WorldModelModule) -> list[torch.Tensor]:
    return [*module.model.state_dict().values(), *module.ema.shadow_params]


def test_evaluation_changes_nothing_and_a_resumed_run_has_the_same_values(
    evaluation_set: EvaluationSet, tmp_path: Path
) -> None:
    def every_two(path: Path) -> list[EvaluationCallback]:
        return [EvaluationCallback(evaluation_set, SETTINGS, path, steps=2, base="base")]

    plain = weights(run(tmp_path / "plain", STEPS))
    whole = weights(run(tmp_path / "whole", STEPS, callbacks=every_two(tmp_path / "whole.parquet")))
    assert all(torch.equal(a, b) for a, b in zip(plain, whole, strict=True))
    found = read_evaluations(tmp_path / "whole.parquet")
    assert list(found) == [(0, "base"), (2, "step-2"), (4, "step-4"), (5, "step-5")]
    assert len({evaluation.values for evaluation in found.values()}) == 4, "the weights differ"

    run(tmp_path / "halved", 3, callbacks=every_two(tmp_path / "halved.parquet"))
    resumed = weights(run(tmp_path / "halved", STEPS, callbacks=every_two(tmp_path / "halved.parquet")))
    assert all(torch.equal(a, b) for a, b in zip(plain, resumed, strict=True))
    again = read_evaluations(tmp_path / "halved.parquet")
    assert {key: again[key] for key in found} == found
