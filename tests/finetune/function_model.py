"""A function of (noisy, sigma, conditions) as a model that can be sampled."""

from collections.abc import Callable

from torch import Tensor

from driveforge.finetune.world_model.conditions import Conditions
from driveforge.finetune.world_model.sampler_settings import SamplerSettings
from driveforge.finetune.world_model.sampling import noise_levels
from driveforge.finetune.world_model.solvers import Solver, make_unipc_solver


class FunctionModel:
    has_clean_context = True

    def __init__(self, function: Callable[[Tensor, Tensor, Conditions], Tensor]) -> None:
        self._function = function

    def __call__(self, noisy: Tensor, sigma: Tensor, conditions: Conditions) -> Tensor:
        return self._function(noisy, sigma, conditions)

    def make_solver(self, settings: SamplerSettings, *, has_frames: bool) -> Solver:
        return make_unipc_solver(noise_levels(settings, has_frames=has_frames))
