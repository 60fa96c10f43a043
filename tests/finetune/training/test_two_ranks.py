"""Two processes, started by torchrun and connected by gloo, give the result of one process.

``torchrun -m tests.finetune.training.test_two_ranks ROOT STEPS`` runs in each of them.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from tests.finetune.small_run import random_cache, run

REPOSITORY = Path(__file__).parents[3]
STEPS = 12


class Losses(Callback):
    """Records the losses of one rank."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *_: Any) -> None:
        self.values.append(float(outputs["loss"]))


def torchrun(root: Path, steps: int) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    program = ["-m", "tests.finetune.training.test_two_ranks", str(root), str(steps)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launcher, *program], cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def read_rank(root: Path, rank: int) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((root / f"rank-{rank}.json").read_text())
    return record


@pytest.mark.slow
def test_two_ranks_train_to_the_same_losses_as_one(tmp_path: Path) -> None:
    single = Losses()
    module = run(tmp_path / "one" / "run", STEPS, callbacks=[single])
    both = tmp_path / "two" / "run"
    random_cache(both.parent / "latents")
    # In two calls, the second of which resumes from a checkpoint.
    torchrun(both, STEPS // 2)
    first = [read_rank(both, rank)["losses"] for rank in (0, 1)]
    torchrun(both, STEPS)
    ranks = [read_rank(both, rank) for rank in (0, 1)]
    losses = np.array([first[rank] + ranks[rank]["losses"] for rank in (0, 1)])
    assert losses.shape == (2, 2 * STEPS), "two batches per step"
    np.testing.assert_allclose(losses.mean(0), single.values, rtol=1e-5)
    assert not np.allclose(losses[0], losses[1], rtol=1e-2), "each rank has its own samples"
    assert [rank["backend"] for rank in ranks] == ["gloo", "gloo"]
    states = [torch.load(both / f"rank-{rank}.pt", weights_only=True) for rank in (0, 1)]
    for name, value in module.model.state_dict().items():
        assert torch.equal(states[0][name], states[1][name]), name
        torch.testing.assert_close(states[0][name], value, rtol=1e-4, atol=1e-5)


def main(root: Path, steps: int) -> None:
    torch.set_num_threads(1)
    losses = Losses()
    module = run(root, steps, callbacks=[losses])
    rank = torch.distributed.get_rank()
    torch.save(module.model.state_dict(), root / f"rank-{rank}.pt")
    record = {"losses": losses.values, "backend": torch.distributed.get_backend()}
    (root / f"rank-{rank}.json").write_text(json.dumps(record))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
