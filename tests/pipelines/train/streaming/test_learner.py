"""A learner steps, averages, recovers and resumes."""

import copy

import torch
from torch import nn

from driveforge.pipelines.train.streaming.learner import Learner


def make_learner(module: nn.Module) -> Learner:
    return Learner(module.parameters(), learning_rate=0.1, weight_decay=0.0, ema_decay=0.5, max_grad_norm=1.0)


def take_steps(learner: Learner, module: nn.Linear, count: int) -> None:
    for _ in range(count):
        learner.step((module(torch.ones(1, 3)) - 2).square().mean(), 1.0)


def test_a_learner_goes_back_to_the_last_good_average_at_half_the_rate() -> None:
    module = nn.Linear(3, 2)
    learner = make_learner(module)
    take_steps(learner, module, 5)
    learner.keep_good()
    learner.copy_average()
    good = module.weight.detach().clone()
    norm = learner.step(module(torch.full((1, 3), torch.nan)).sum(), 1.0)
    assert not norm.isfinite() and not module.weight.isfinite().all()
    learner.recover()
    assert torch.equal(module.weight, good) and learner.rate == 0.05
    take_steps(learner, module, 3)
    assert module.weight.isfinite().all()
    learner.copy_average()
    assert module.weight.isfinite().all() and not torch.equal(module.weight, good)


def test_a_restored_learner_continues_exactly() -> None:
    module, other = nn.Linear(3, 2), nn.Linear(3, 2)
    learner, restored = make_learner(module), make_learner(other)
    take_steps(learner, module, 4)
    restored.load_state_dict(copy.deepcopy(learner.state_dict()))
    take_steps(learner, module, 3)
    take_steps(restored, other, 3)
    assert torch.equal(module.weight, other.weight)
    learner.copy_average()
    restored.copy_average()
    assert torch.equal(module.weight, other.weight)


def test_the_factor_scales_the_step_and_gradients_are_clipped() -> None:
    module = nn.Linear(3, 2)
    before = module.weight.detach().clone()
    make_learner(module).step(1e6 * module(torch.ones(1, 3)).sum(), 0.0)
    assert torch.equal(module.weight, before)
