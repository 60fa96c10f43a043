"""What replay samples say about the weights of the base, estimated once before training and kept on disk."""

import hashlib
import json
from collections.abc import Callable, Iterator

import torch

from driveforge.datasets.latents.shards import LatentSample, LatentShard, write_shard
from driveforge.finetune.strategies.distillation_loss import make_single_sample_batch
from driveforge.finetune.strategies.strategy import StrategyContext
from driveforge.finetune.strategies.weight_delta import Weights, get_effective_weights
from driveforge.finetune.world_model.flow import flow_matching_loss, sample_noise
from driveforge.finetune.world_model.model import compute_model_digest
from driveforge.replay.buffer import ReplayBuffer

# Single samples, dealt to the replay domains in turn. The published rank-1 experiments take some hundreds too.
NUM_GRADIENTS = 128
# The place of these draws among those of all steps and slots: no batch is as large as this.
_FISHER_SLOT = 2**41

Estimator = Callable[[StrategyContext, ReplayBuffer], Weights]


def load_or_estimate(context: StrategyContext, replay: ReplayBuffer, name: str, estimate: Estimator) -> Weights:
    """``estimate`` of the run's base, from ``<folder>/<name>-<key>.safetensors`` where it was made before."""
    trained = sorted(get_effective_weights(context.model))
    inputs = [
        compute_model_digest(context.base),
        replay.digest(),
        context.seed,
        context.continuation_prob,
        NUM_GRADIENTS,
        trained,
    ]
    key = hashlib.sha256(json.dumps(inputs).encode()).hexdigest()[:16]
    path = context.folder / f"{name}-{key}.safetensors"
    if not path.exists():
        found = estimate(context, replay)
        write_shard(path, [LatentSample(clip_id=name, domain="", caption="", tensors=found)])
    kept = LatentShard(path).sample(0).tensors
    return {name: value.to(context.model.device) for name, value in kept.items()}


def estimate_diagonal_fisher(context: StrategyContext, replay: ReplayBuffer) -> Weights:
    """E[g_i^2], element by element."""
    total: Weights = {}
    for gradient in compute_gradients(context, replay):
        for name, value in gradient.items():
            total[name] = total.get(name, 0) + value.square() / NUM_GRADIENTS
    return total


def estimate_principal_direction(context: StrategyContext, replay: ReplayBuffer) -> Weights:
    """g sqrt(E[(g . g_i)^2]) / |g|^2, g = E[g_i]: the vector whose outer product is the best multiple of g g^T.

    Gradients are made twice rather than kept: each is as large as the model.
    """
    mean: Weights = {}
    for gradient in compute_gradients(context, replay):
        for name, value in gradient.items():
            mean[name] = mean.get(name, 0) + value / NUM_GRADIENTS
    projection = [_inner(mean, gradient) ** 2 / NUM_GRADIENTS for gradient in compute_gradients(context, replay)]
    length = sum(projection) ** 0.5 / max(_inner(mean, mean), 1e-30)
    return {name: value * length for name, value in mean.items()}


def compute_gradients(context: StrategyContext, replay: ReplayBuffer) -> Iterator[Weights]:
    """The gradient of the flow loss of one replay sample after the other, each at a noise of its own."""
    weights = get_effective_weights(context.model)
    required_grad = {name: p.requires_grad for name, p in weights.items()}
    domains = tuple(replay.sizes.items())
    try:
        for p in weights.values():
            p.requires_grad_(True)
        for number in range(NUM_GRADIENTS):
            turn, position = divmod(number, len(domains))
            domain, size = domains[position]
            latents, cell_weight, conditions = make_single_sample_batch(
                context.model, replay.sample(domain, turn % size)
            )
            noise_sample = sample_noise(
                context.seed, number, [_FISHER_SLOT], latents.shape[1:], continuation_prob=context.continuation_prob
            )
            loss = flow_matching_loss(context.model, latents, cell_weight, conditions, noise_sample).sum()
            found = torch.autograd.grad(loss, list(weights.values()), materialize_grads=True)
            yield dict(zip(weights, found, strict=True))
    finally:
        for name, p in weights.items():
            p.requires_grad_(required_grad[name])


def _inner(a: Weights, b: Weights) -> float:
    return sum(float((a[name].double() * b[name].double()).sum()) for name in a)
