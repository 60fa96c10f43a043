"""Distributed training, started by ``torchrun``."""

import os
from typing import Any

from lightning.pytorch.plugins.environments import TorchElasticEnvironment

from driveforge.finetune.training.settings import TrainingSettings
from driveforge.finetune.training.sharded_strategy import ShardedStrategy


def distributed_kwargs(settings: TrainingSettings) -> dict[str, Any]:
    """Arguments of Lightning's trainer: one device, or the processes that ``torchrun`` started.

    By default, Lightning would restart the program for every GPU that it finds, including everything that runs before
    training.
    """
    if not TorchElasticEnvironment.detect():
        return {"devices": 1}
    local_world_size, world_size = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
    strategy = ShardedStrategy(world_size) if is_sharded(settings) else "ddp"
    return {"strategy": strategy, "devices": local_world_size, "num_nodes": world_size // local_world_size}


def is_sharded(settings: TrainingSettings) -> bool:
    """Whether each process holds a part of the model only; one process without ``torchrun`` holds all of it."""
    return settings.parallel == "fsdp" and TorchElasticEnvironment.detect()


def is_rank_zero() -> bool:
    """Whether this process prints and writes files: that of rank 0, or the only one."""
    return not TorchElasticEnvironment.detect() or os.environ["RANK"] == "0"
