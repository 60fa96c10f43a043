"""A run that is probed ends with the same weights as one that is not, resumed or in one go."""

from pathlib import Path

import pytest
import torch

from driveforge.finetune.evaluation.callback import ProbeEvery
from driveforge.finetune.evaluation.clips import ProbeSet, make_probe_set
from driveforge.finetune.evaluation.results import read_probed
from driveforge.finetune.training.module import WorldModelModule
from driveforge.finetune.world_model.model import WorldModel
from tests.defaults import evaluation_settings
from tests.finetune.evaluation.sliding import sliding
from tests.finetune.small_run import TINY, run

STEPS = 5
SETTINGS = evaluation_settings(dynamics=False, sigma_edges=(0.5, 1.0))


@pytest.fixture(scope="module")
def probe_set() -> ProbeSet:
    torch.manual_seed(0)  # as ``run`` makes its model
    return make_probe_set(WorldModel.make(TINY).vae, [sliding()])


def weights(module: WorldModelModule) -> list[torch.Tensor]:
    return [*module.model.state_dict().values(), *module.average.shadow_params]


def test_probing_changes_nothing_and_a_resumed_run_says_the_same(probe_set: ProbeSet, tmp_path: Path) -> None:
    def every_two(path: Path) -> list[ProbeEvery]:
        return [ProbeEvery(probe_set, SETTINGS, path, steps=2, base="base")]

    plain = weights(run(tmp_path / "plain", STEPS))
    whole = weights(run(tmp_path / "whole", STEPS, callbacks=every_two(tmp_path / "whole.parquet")))
    assert all(torch.equal(a, b) for a, b in zip(plain, whole, strict=True))
    found = read_probed(tmp_path / "whole.parquet")
    assert list(found) == [(0, "base"), (2, "step-2"), (4, "step-4"), (5, "step-5")]
    assert len({probed.values for probed in found.values()}) == 4, "weights have moved"

    run(tmp_path / "halved", 3, callbacks=every_two(tmp_path / "halved.parquet"))
    resumed = weights(run(tmp_path / "halved", STEPS, callbacks=every_two(tmp_path / "halved.parquet")))
    assert all(torch.equal(a, b) for a, b in zip(plain, resumed, strict=True))
    again = read_probed(tmp_path / "halved.parquet")
    assert {key: again[key] for key in found} == found
