"""A share that follows what a probe finds: when it asks, what it writes down, and what the batches then hold."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger

from driveforge.finetune.world_model.model import WorldModel
from tests.finetune.small_fine_tune import prepare_root, run, settings_for


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shares")
    prepare_root(root)
    return root


class Watch(Callback):
    """Replay samples of every batch, and the trained weights before and after every probe."""

    def __init__(self) -> None:
        self.replayed: list[int] = []
        self.weights: list[torch.Tensor] = []

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, index: int) -> None:
        self.replayed.append(int(batch["is_replay"].sum()))


def test_the_share_rises_while_a_domain_is_forgotten_and_falls_when_none_is(root: Path) -> None:
    asked: list[bool] = []

    def probe(model: WorldModel) -> dict[str, float]:
        asked.append(model.training)
        return {"orbit": 0.2 if len(asked) <= 2 else 0.0, "falling": -0.1}

    watch = Watch()
    settings = settings_for("replay", schedule="adaptive", share=0.2, steps=10, batch_size=10, eval_every=2)
    tuned = run(root, "rising", settings, watch, forgetting_metric=probe)
    assert asked == [False] * 5, "every two steps, in evaluation mode"
    # Two batches a step: what is decided after step 2 holds from the first batch of step 3, counted from 0.
    shares = (0.2, 0.3, 0.45, 0.3, 0.2)
    assert tuned.decisions == tuple(zip((0, 6, 10, 14, 18, 22), (*shares, 0.1333), strict=True))
    wanted = [2] * 6 + [3] * 4 + [4, 5, 4, 5] + [3] * 4 + [2] * 2
    assert sum(watch.replayed) == sum(wanted) == tuned.sample_counts["orbit"] + tuned.sample_counts["falling"]
    assert watch.replayed == wanted


def test_a_longer_run_goes_on_as_one_that_was_long_from_the_start(root: Path) -> None:
    def probe(model: WorldModel) -> dict[str, float]:
        return {"orbit": 1.0}

    def settings(steps: int) -> Any:
        return settings_for("replay", schedule="adaptive", share=0.2, steps=steps, eval_every=2)

    run(root, "longer", settings(4), forgetting_metric=probe)
    longer, whole = (
        run(root, "longer", settings(8), forgetting_metric=probe),
        run(root, "long", settings(8), forgetting_metric=probe),
    )
    assert longer.decisions == whole.decisions
    found, wanted = longer.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(found[name], value) for name, value in wanted.items())


def test_a_probe_sees_the_average_and_leaves_the_training_as_it_was(root: Path) -> None:
    seen: list[dict[str, torch.Tensor]] = []

    def probe(model: WorldModel) -> dict[str, float]:
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
        return {"orbit": 0.03}  # within the tolerance, and no room

    watched = run(
        root, "watched", settings_for("replay", schedule="adaptive", steps=4, eval_every=4), forgetting_metric=probe
    )
    plain = run(root, "plain", settings_for("replay", steps=4)).model.state_dict()
    assert watched.decisions[-1][1] == watched.decisions[0][1] == 0.5
    assert all(torch.equal(value, plain[name]) for name, value in watched.model.state_dict().items())
    assert all(torch.equal(value, plain[name]) for name, value in seen[-1].items())


def test_what_strategy_and_probe_do_is_logged(root: Path, tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, name="")
    settings = settings_for("replay+distill", schedule="adaptive", steps=10, eval_every=5)
    run(root, "logged", settings, forgetting_metric=lambda model: {"orbit": 0.2}, logger=logger)
    header = (tmp_path / "version_0" / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"loss", "strategy/distill", "share/orbit", "share/target", "forgetting/orbit"} <= set(header)
