"""Sharding of a model's weights over the ranks with FSDP2, and their assembly after training."""

import copy

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from driveforge.finetune.training.distributed import is_rank_zero
from driveforge.finetune.world_model.model import WorldModel


def shard_model(model: WorldModel, mesh: DeviceMesh, *, bf16: bool) -> None:
    """Shard ``model`` in place: a rank keeps its rows of every weight, and gathers the weights of one block at a time.

    With ``bf16``, the blocks' weights are gathered in bf16 and the forward pass is autocast, also in evaluations;
    gradients are summed in float32. Everything is resharded after each forward pass, because weights are replaced
    between them by averaged ones.
    """
    policy = MixedPrecisionPolicy()
    if bf16:
        policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
        # Without its cache, which would keep casts of weights that are gathered only for a moment.
        autocast = torch.autocast(mesh.device_type, torch.bfloat16, cache_enabled=False)
        model.forward = autocast(model.forward)  # type: ignore[method-assign]
    for blocks in model.block_lists():
        for block in blocks:
            fully_shard(block, mesh=mesh, mp_policy=policy, reshard_after_forward=True)
    fully_shard(model, mesh=mesh, reshard_after_forward=True)


def copy_without_weights(model: WorldModel) -> WorldModel:
    """A copy with the same encoder, whose weights are on the meta device, for ``gather_weights``."""
    memo: dict[int, object] = {id(model.encoder): model.encoder}
    for p in model.parameters():
        memo[id(p)] = nn.Parameter(torch.empty_like(p, device="meta"), requires_grad=p.requires_grad)
    return copy.deepcopy(model, memo)


def gather_weights(sharded: WorldModel, target: WorldModel) -> None:
    """Fill the weights of ``target`` from all ranks, one tensor at a time, on the CPU of rank 0.

    Every rank calls it; on the others, the weights of ``target`` remain on the meta device.
    """
    state = {}
    for name, value in sharded.state_dict().items():
        whole = value.full_tensor() if isinstance(value, DTensor) else value
        if is_rank_zero():
            state[name] = whole.cpu()
    if is_rank_zero():
        target.load_state_dict(state, assign=True)
