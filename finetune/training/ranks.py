"""One training run on several processes."""

import os
from typing import Any

from lightning.pytorch.plugins.environments import TorchElasticEnvironment


def processes() -> dict[str, Any]:
    """What Lightning's trainer has to know: this process alone, or all that ``torchrun`` started.

    Only ``torchrun`` makes several. Left to itself, Lightning would start the whole program again for every GPU that
    it finds, and with it all that came before the training.
    """
    if not TorchElasticEnvironment.detect():
        return {"devices": 1}
    here, everywhere = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
    return {"strategy": "ddp", "devices": here, "num_nodes": everywhere // here}


def leads() -> bool:
    """Whether this process is the one that speaks, writes and saves: that of rank 0, or the only one."""
    return not TorchElasticEnvironment.detect() or os.environ["RANK"] == "0"
