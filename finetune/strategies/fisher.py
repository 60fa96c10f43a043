"""The empirical Fisher of the base on replay samples, estimated once before training and stored in the run's folder."""

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

# A slot that no batch has, so that this noise differs from that of training.
_FISHER_SLOT = 2**41

Estimator = Callable[[StrategyContext, ReplayBuffer], Weights]


def load_or_estimate(context: StrategyContext, replay: ReplayBuffer, name: str, estimate: Estimator) -> Weights:
    """The result of ``estimate``, read from ``<folder>/<name>-<key>.safetensors`` if an earlier call wrote it."""
    trained = sorted(get_effective_weights(context.model))
    inputs = [
        compute_model_digest(context.base),
        replay.digest(),
        context.seed,
        context.continuation_prob,
        context.num_fisher_samples,
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
    """The diagonal of the empirical Fisher: E[g_i^2], elementwise, over the gradients g_i of single samples."""
    total: Weights = {}
    for gradient in compute_gradients(context, replay):
        for name, value in gradient.items():
            total[name] = total.get(name, 0) + value.square() / context.num_fisher_samples
    return total


def estimate_principal_direction(context: StrategyContext, replay: ReplayBuffer) -> Weights:
    """v = g sqrt(E[(g . g_i)^2]) / |g|^2 with g = E[g_i]; v v^T is the multiple of g g^T closest to the Fisher.

    Gradients are computed twice rather than kept, because each is as large as the model.
    """
    count = context.num_fisher_samples
    mean: Weights = {}
    for gradient in compute_gradients(context, replay):
        for name, value in gradient.items():
            mean[name] = mean.get(name, 0) + value / count
    projection = [_inner(mean, gradient) ** 2 / count for gradient in compute_gradients(context, replay)]
    scale = sum(projection) ** 0.5 / max(_inner(mean, mean), 1e-30)
    return {name: value * scale for name, value in mean.items()}


def compute_gradients(context: StrategyContext, replay: ReplayBuffer) -> Iterator[Weights]:
    """The gradients of the flow loss of single replay samples, from the domains in turn, each at its own noise."""
    weights = get_effective_weights(context.model)
    required_grad = {name: p.requires_grad for name, p in weights.items()}
    domains = tuple(replay.sizes.items())
    try:
        for p in weights.values():
            p.requires_grad_(True)
        for number in range(context.num_fisher_samples):
            turn, position = divmod(number, len(domains))
            domain, size = domains[position]
            latents, cell_weight, conditions = make_single_sample_batch(
                context.model, replay.sample(domain, turn % size)
            )
            noise_sample = sample_noise(
                context.seed,
                number,
                [_FISHER_SLOT],
                latents.shape[1:],
                continuation_prob=context.continuation_prob,
                distribution=context.model.noise_distribution,
            )
            loss = flow_matching_loss(context.model, latents, cell_weight, conditions, noise_sample).sum()
            found = torch.autograd.grad(loss, list(weights.values()), materialize_grads=True)
            yield dict(zip(weights, found, strict=True))
    finally:
        for name, p in weights.items():
            p.requires_grad_(required_grad[name])


def _inner(a: Weights, b: Weights) -> float:
    return sum(float((a[name].double() * b[name].double()).sum()) for name in a)
