"""Ranks that each hold a part of the model train to the result of one process that holds all of it."""

import json
import resource
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import WriteError
from driveforge.finetune.training.checkpoints import find_newest_checkpoint, is_intact, list_checkpoints
from driveforge.finetune.training.distributed import is_rank_zero
from driveforge.finetune.training.module import WorldModelModule
from tests.finetune.ranks import one_rank, rank_server, run_ranks
from tests.finetune.small_run import random_cache, run

STEPS, STOPPED = 7, 4
# The batches before checkpoint 3, from which a run of 4 steps is resumed; a step has two batches.
RESUMED = 6
VARIANTS: dict[str, dict[str, Any]] = {
    "full": {},
    "lora": {"adapter": "lora", "gradient_checkpointing": True, "num_workers": 1},
    "bf16": {"precision": "bf16", "gradient_checkpointing": True, "adapter": "lora"},
}


class Losses(Callback):
    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *_: Any) -> None:
        self.values.append(float(outputs["loss"]))


class LimitFiles(Callback):
    """From step 4 on, files cannot grow beyond 100 kB: writing is an error, or kills the process in the middle."""

    def __init__(self, *, kills: bool) -> None:
        self._kills = kills

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == 4:
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL if self._kills else signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))


def train_rank(root: Path, steps: int, changes: dict[str, Any]) -> None:
    """One rank of a run in ``root/run``; its losses and weights are written to ``root``."""
    losses = Losses()
    module = run(root / "run", steps, callbacks=[losses], parallel="fsdp", **changes)
    rank = torch.distributed.get_rank()
    (root / f"losses-{rank}.json").write_text(json.dumps(losses.values))
    if rank == 0:
        torch.save(module.model.state_dict(), root / "weights.pt")
    else:
        assert all(p.device.type == "meta" for p in module.model.parameters()), "only rank 0 has the whole model"


def train_variants(root: Path) -> None:
    for name, changes in VARIANTS.items():
        train_rank(root / name, STEPS, changes)


def train_limited(root: Path, kills: bool) -> None:
    try:
        run(root / "run", STEPS, callbacks=[LimitFiles(kills=kills)], parallel="fsdp")
    except WriteError as error:
        (root / f"error-{torch.distributed.get_rank()}").write_text(str(error))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Runs of two ranks with every variant, and one that is stopped after checkpoint 3."""
    root = tmp_path_factory.mktemp("sharded")
    with rank_server("tests.finetune.training.test_sharding"):
        for name in [*VARIANTS, "stopped"]:
            random_cache(root / name / "latents")
        assert run_ranks(2, train_variants, root) == [0, 0]
        assert run_ranks(2, train_rank, root / "stopped", STOPPED, {}) == [0, 0]
        yield root


def read_losses(root: Path) -> np.ndarray[Any, Any]:
    """The losses of both ranks, (2, batches)."""
    return np.array([json.loads((root / f"losses-{rank}.json").read_text()) for rank in (0, 1)])


def read_weights(root: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = torch.load(root / "weights.pt", weights_only=True)
    return weights


def require_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], atol: float = 0) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=atol, msg=name)


def train_whole(root: Path, steps: int = STEPS, **changes: Any) -> tuple[list[float], WorldModelModule]:
    losses = Losses()
    module = run(root / "run", steps, callbacks=[losses], **changes)
    return losses.values, module


def copy_run(source: Path, target: Path) -> Path:
    return Path(shutil.copytree(source, target))


@pytest.mark.parametrize("name", ["full", "lora"])
def test_two_ranks_have_the_losses_and_averaged_weights_of_one(root: Path, tmp_path: Path, name: str) -> None:
    """Gradients are accumulated over two batches, and clipped by norm."""
    expected, module = train_whole(tmp_path, adapter=name)
    losses = read_losses(root / name)
    np.testing.assert_allclose(losses.mean(0), expected, rtol=1e-5)
    assert not np.allclose(losses[0], losses[1], rtol=1e-2), "each rank has its own samples"
    require_equal(read_weights(root / name), module.model.state_dict(), atol=1e-5)


def test_bf16_is_close(root: Path) -> None:
    losses, exact = read_losses(root / "bf16"), read_losses(root / "lora")
    np.testing.assert_allclose(losses, exact, rtol=1e-2)
    assert not np.array_equal(losses, exact)
    assert all(value.dtype == torch.float32 for value in read_weights(root / "bf16").values())


def test_stopped_and_resumed_on_two_ranks_is_bit_identical(root: Path, tmp_path: Path) -> None:
    resumed = copy_run(root / "stopped", tmp_path / "resumed")
    assert run_ranks(2, train_rank, resumed, STEPS, {}) == [0, 0]
    require_equal(read_weights(resumed), read_weights(root / "full"))
    assert [path.name for _, path in list_checkpoints(resumed / "run")] == ["step=6.ckpt", "step=3.ckpt"]
    files = {path.name for path in (resumed / "run" / "step=6.ckpt").iterdir()}
    assert files == {"rank-0-of-2.ckpt", "rank-1-of-2.ckpt"}
    np.testing.assert_array_equal(read_losses(resumed), read_losses(root / "full")[:, RESUMED:])


def test_one_process_resumes_a_run_of_two_ranks(root: Path, tmp_path: Path) -> None:
    resumed = copy_run(root / "stopped", tmp_path / "resumed")
    losses, module = train_whole(resumed)
    np.testing.assert_allclose(losses, read_losses(root / "full").mean(0)[RESUMED:], rtol=1e-5)
    require_equal(module.model.state_dict(), read_weights(root / "full"), atol=1e-5)
    assert (resumed / "run" / "step=6.ckpt").is_file()


def test_two_ranks_resume_a_run_of_one_process(root: Path, tmp_path: Path) -> None:
    train_whole(tmp_path, STOPPED)
    assert run_ranks(2, train_rank, tmp_path, STEPS, {}) == [0, 0]
    np.testing.assert_allclose(read_losses(tmp_path), read_losses(root / "full")[:, RESUMED:], rtol=1e-5)
    require_equal(read_weights(tmp_path), read_weights(root / "full"), atol=1e-5)


def test_one_sharded_rank_equals_one_process_and_resumes_a_run_of_two(root: Path, tmp_path: Path) -> None:
    _, expected = train_whole(tmp_path / "whole")
    with one_rank():
        _, module = train_whole(tmp_path / "sharded", parallel="fsdp")
        resumed = copy_run(root / "stopped", tmp_path / "resumed")
        train_rank(resumed, STEPS, {})
    require_equal(module.model.state_dict(), expected.model.state_dict(), atol=1e-6)
    require_equal(read_weights(resumed), expected.model.state_dict(), atol=1e-5)


def flip_a_weight(folder: Path) -> None:
    path = folder / "rank-1-of-2.ckpt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut_short(folder: Path) -> None:
    path = folder / "rank-0-of-2.ckpt"
    path.write_bytes(path.read_bytes()[:-1000])


def lose_a_rank(folder: Path) -> None:
    (folder / "rank-1-of-2.ckpt").unlink()


@pytest.mark.parametrize("damage", [flip_a_weight, cut_short, lose_a_rank])
def test_a_damaged_shard_is_reported_and_the_checkpoint_before_it_used(
    root: Path, tmp_path: Path, damage: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = copy_run(root / "full", tmp_path / "damaged")
    newest = damaged / "run" / "step=6.ckpt"
    damage(newest)
    assert find_newest_checkpoint(damaged / "run") == damaged / "run" / "step=3.ckpt"
    assert capsys.readouterr().out.replace("\n", "") == f"skipping {newest}: damaged, or not written by driveforge"
    if damage is flip_a_weight:
        assert run_ranks(2, train_rank, damaged, STEPS, {}) == [0, 0]
        require_equal(read_weights(damaged), read_weights(root / "full"))
    else:
        train_whole(damaged)
    assert is_intact(newest), "it was written again"


def test_a_run_that_is_killed_while_it_saves_resumes(root: Path, tmp_path: Path) -> None:
    random_cache(tmp_path / "latents")
    assert run_ranks(2, train_limited, tmp_path, True)[0] in (-signal.SIGXFSZ, -signal.SIGKILL)
    partial = tmp_path / "run" / ".step=6.ckpt.tmp"
    assert max(path.stat().st_size for path in partial.iterdir()) == 100_000, "it was killed in the middle of a file"
    assert find_newest_checkpoint(tmp_path / "run") == tmp_path / "run" / "step=3.ckpt"
    assert run_ranks(2, train_rank, tmp_path, STEPS, {}) == [0, 0]
    require_equal(read_weights(tmp_path), read_weights(root / "full"))
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"step=6.ckpt", "step=3.ckpt"}


def test_a_full_disk_is_an_error_on_every_rank(root: Path, tmp_path: Path) -> None:
    random_cache(tmp_path / "latents")
    assert run_ranks(2, train_limited, tmp_path, False) == [0, 0]
    for rank in (0, 1):
        assert "step=6.ckpt cannot be written" in (tmp_path / f"error-{rank}").read_text()
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"step=3.ckpt"}


def test_a_sharded_checkpoint_of_other_settings_is_rejected(root: Path) -> None:
    with pytest.raises(UserError, match=r"step=6\.ckpt was made from other.*learning_rate was 0.001, is 0.01"):
        run(root / "full" / "run", STEPS, learning_rate=0.01)


def test_without_torchrun_one_process_holds_the_model(tmp_path: Path) -> None:
    _, module = train_whole(tmp_path, 3, parallel="fsdp")
    assert is_rank_zero() and not module.is_sharded
    assert (tmp_path / "run" / "step=3.ckpt").is_file()
