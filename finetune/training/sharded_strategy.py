"""Lightning's strategy for FSDP2, with the checkpoints of driveforge."""

from pathlib import Path
from typing import Any

from lightning.pytorch.strategies import ModelParallelStrategy, ParallelStrategy
from torch import Tensor
from torch.distributed.tensor import DTensor

from driveforge.finetune.training.checkpoints import remove_older_checkpoints
from driveforge.finetune.training.sharded_checkpoint import Rows, read_sharded_checkpoint, write_sharded_checkpoint


class ShardedStrategy(ModelParallelStrategy):
    """``ModelParallelStrategy`` on one axis of ``world_size`` ranks, whose module shards itself in ``configure_model``.

    Checkpoints have the same structure as those of one process, with a ``DTensor`` for each sharded tensor: parameters
    are numbered in the optimizer's state, so it fits any number of ranks, and torch's own loading accepts DTensors.
    """

    lightning_restore_optimizer = True
    lightning_module_state_dict = ParallelStrategy.lightning_module_state_dict
    load_model_state_dict = ParallelStrategy.load_model_state_dict
    optimizer_state = ParallelStrategy.optimizer_state
    load_optimizer_state_dict = ParallelStrategy.load_optimizer_state_dict

    def __init__(self, world_size: int) -> None:
        super().__init__(data_parallel_size=world_size, tensor_parallel_size=1)

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Any | None = None
    ) -> None:
        """Called on every rank."""
        write_sharded_checkpoint(Path(filepath), checkpoint)
        if self.is_global_zero:
            remove_older_checkpoints(Path(filepath))

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        """Read this rank's rows of a checkpoint of any number of ranks, or of one process."""
        checkpoint = read_sharded_checkpoint(Path(checkpoint_path))
        live = self.lightning_module.state_dict()
        checkpoint["state_dict"] = {
            name: _shard_like(live[name], value) for name, value in checkpoint["state_dict"].items()
        }
        trained = [p for p in self.lightning_module.parameters() if p.requires_grad]
        for optimizer_state in checkpoint["optimizer_states"]:
            optimizer_state["state"] = {
                number: {key: _shard_like(trained[number], value) for key, value in moments.items()}
                for number, moments in optimizer_state["state"].items()
            }
        average = checkpoint["ema"]
        average["shadow_params"] = [_shard_like(*pair) for pair in zip(trained, average["shadow_params"], strict=True)]
        return checkpoint


def _shard_like(target: Tensor, value: Tensor | Rows) -> Tensor:
    """This rank's rows of a ``value`` as large as ``target``; other tensors, such as step counts, as a whole."""
    if not isinstance(target, DTensor) or value.shape != target.shape:
        return value.clone()  # since it is mapped from a file, which may be removed
    local = target.to_local()
    # The rows are divided as by ``torch.chunk``: the last ranks may have fewer, or none.
    size = -(-len(target) // target.device_mesh.size())
    start = min(target.device_mesh.get_local_rank() * size, len(target))
    rows = value if isinstance(value, Rows) else Rows([value])
    own = rows.read(start, start + len(local)).to(local.device)
    return DTensor.from_local(
        own, target.device_mesh, target.placements, run_check=False, shape=target.shape, stride=target.stride()
    )
