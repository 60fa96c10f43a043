"""The adaptive share: when forgetting is measured, which shares are recorded, and what the batches hold."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger

from driveforge.finetune.world_model.families.tiny import TinyWorldModel
from driveforge.replay.dataset import Batch
from tests.finetune.small_fine_tune import Settings, prepare_root, run, settings_for


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shares")
    prepare_root(root)
    return root


class Watch(Callback):
    """Records the number of replay samples in every batch."""

    def __init__(self) -> None:
        self.replayed: list[int] = []

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Batch, index: int) -> None:
        self.replayed.append(int(batch.is_replay.sum()))


def test_the_share_rises_while_a_domain_is_forgotten_and_falls_when_none_is(root: Path) -> None:
    modes: list[bool] = []

    def metric(model: TinyWorldModel) -> dict[str, float]:
        modes.append(model.training)
        return {"orbit": 0.2 if len(modes) <= 2 else 0.0, "falling": -0.1}

    watch = Watch()
    settings = settings_for("replay", schedule="adaptive", share=0.2, steps=10, batch_size=10, eval_every=2)
    tuned = run(root, "rising", settings, watch, forgetting_metric=metric)
    assert modes == [False] * 5, "every two steps, in evaluation mode"
    # Two batches per step: a decision after step 2 holds from the first batch of step 3, counted from 0.
    shares = (0.2, 0.3, 0.45, 0.3, 0.2)
    assert tuned.decisions == tuple(zip((0, 6, 10, 14, 18, 22), (*shares, 0.1333), strict=True))
    expected = [2] * 6 + [3] * 4 + [4, 5, 4, 5] + [3] * 4 + [2] * 2
    assert sum(watch.replayed) == sum(expected) == tuned.sample_counts["orbit"] + tuned.sample_counts["falling"]
    assert watch.replayed == expected


def test_an_extended_run_equals_one_that_was_long_from_the_start(root: Path) -> None:
    def metric(model: TinyWorldModel) -> dict[str, float]:
        return {"orbit": 1.0}

    def settings(steps: int) -> Settings:
        return settings_for("replay", schedule="adaptive", share=0.2, steps=steps, eval_every=2)

    run(root, "longer", settings(4), forgetting_metric=metric)
    longer = run(root, "longer", settings(8), forgetting_metric=metric)
    whole = run(root, "long", settings(8), forgetting_metric=metric)
    assert longer.decisions == whole.decisions
    found, expected = longer.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_the_metric_gets_averaged_weights_and_does_not_change_the_training(root: Path) -> None:
    measured: list[dict[str, torch.Tensor]] = []

    def metric(model: TinyWorldModel) -> dict[str, float]:
        measured.append({name: value.clone() for name, value in model.state_dict().items()})
        return {"orbit": 0.03}  # within the tolerance, so the share does not change

    settings = settings_for("replay", schedule="adaptive", steps=4, eval_every=4)
    adaptive = run(root, "measured", settings, forgetting_metric=metric)
    fixed = run(root, "fixed", settings_for("replay", steps=4)).model.state_dict()
    assert adaptive.decisions[-1][1] == adaptive.decisions[0][1] == 0.5
    assert all(torch.equal(value, fixed[name]) for name, value in adaptive.model.state_dict().items())
    assert all(torch.equal(value, fixed[name]) for name, value in measured[-1].items())


def test_strategy_terms_and_forgetting_are_logged(root: Path, tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, name="")
    settings = settings_for("replay+distill", schedule="adaptive", steps=10, eval_every=5)
    run(root, "logged", settings, forgetting_metric=lambda model: {"orbit": 0.2}, logger=logger)
    header = (tmp_path / "version_0" / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"loss", "strategy/distill", "share/orbit", "share/target", "forgetting/orbit"} <= set(header)
