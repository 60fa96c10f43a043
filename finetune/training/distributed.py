"""One training run on several processes."""

import os
from typing import Any

from lightning.pytorch.plugins.environments import TorchElasticEnvironment


def distributed_kwargs() -> dict[str, Any]:
    """What Lightning's trainer has to know: this process alone, or all that ``torchrun`` started.

    Only ``torchrun`` makes several. Left to itself, Lightning would start the whole program again for every GPU that
    it finds, and with it all that came before the training.
    """
    if not TorchElasticEnvironment.detect():
        return {"devices": 1}
    local_world_size, world_size = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
    return {"strategy": "ddp", "devices": local_world_size, "num_nodes": world_size // local_world_size}


def is_rank_zero() -> bool:
    """Whether this process is the one that speaks, writes and saves: that of rank 0, or the only one."""
    return not TorchElasticEnvironment.detect() or os.environ["RANK"] == "0"
