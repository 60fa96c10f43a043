"""Solvers of the sampling ODE, from noise to latents; each wraps a scheduler of diffusers.

The state of a solver may be scaled otherwise than the flow x = (1 - sigma) data + sigma noise that models take.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor


class Solver(Protocol):
    """Integrates from ``start_level`` to 0. ``levels`` are the noise levels in 0..1 at which the model is called."""

    start_level: float
    levels: Sequence[float]

    def start(self, flow: Tensor) -> Tensor:
        """The state of ``flow``, a sample at ``start_level``."""

    def to_flow(self, state: Tensor, index: int) -> Tensor:
        """The sample at noise level ``levels[index]`` that the model takes."""

    def step(self, state: Tensor, index: int, velocity: Tensor, uncond_velocity: Tensor | None, scale: float) -> Tensor:
        """The state at the next level. Guidance of ``scale`` is applied unless ``uncond_velocity`` is None."""

    def finish(self, state: Tensor, context: Tensor, is_context: Tensor) -> Tensor:
        """The sampled latents; ``context`` are the clean latents of context frames."""


class FlowSolver:
    """A ``Solver`` with a flow-matching scheduler of diffusers, whose timesteps are 1000 times the noise level."""

    def __init__(self, scheduler: Any, levels: Sequence[float], start_level: float) -> None:
        """``scheduler`` has its timesteps set."""
        self._scheduler, self.levels, self.start_level = scheduler, levels, start_level
        scheduler.set_begin_index(0)

    def start(self, flow: Tensor) -> Tensor:
        return flow

    def to_flow(self, state: Tensor, index: int) -> Tensor:
        return state

    def step(self, state: Tensor, index: int, velocity: Tensor, uncond_velocity: Tensor | None, scale: float) -> Tensor:
        if uncond_velocity is not None:
            velocity = uncond_velocity + scale * (velocity - uncond_velocity)
        stepped: Tensor = self._scheduler.step(velocity, self._scheduler.timesteps[index], state, return_dict=False)[0]
        return stepped

    def finish(self, state: Tensor, context: Tensor, is_context: Tensor) -> Tensor:
        return torch.where(is_context, context, state)


class EdmSolver:
    """Euler's method from pure noise at the scale of EDM: the state is data + s noise, with s = level / (1 - level).

    The arithmetic is that of ``Cosmos2VideoToWorldPipeline`` in the same order, so that float32 latents have the same
    bits. It guides the predicted data x as x + g (x - x_uncond), so the guidance scale of ``step`` is g + 1.
    """

    start_level = 1.0

    def __init__(self, sigmas: Tensor, start_sigma: float) -> None:
        """``sigmas`` (steps,) decrease; sampling stops at the last of them, and starts at noise of ``start_sigma``.

        The pipeline calls the model at the last one too, but then takes a step of length zero.
        """
        self._sigmas, self._start_sigma = sigmas, start_sigma
        self._levels = sigmas / (sigmas + 1)
        self.levels: Sequence[float] = self._levels[:-1].tolist()
        self._start_state: Tensor | None = None

    def start(self, flow: Tensor) -> Tensor:
        self._start_state = flow * self._start_sigma
        return self._start_state

    def to_flow(self, state: Tensor, index: int) -> Tensor:
        return state * (1 - self._levels[index])

    def step(self, state: Tensor, index: int, velocity: Tensor, uncond_velocity: Tensor | None, scale: float) -> Tensor:
        data = self._predict_data(state, index, velocity)
        if uncond_velocity is not None:
            data = data + (scale - 1) * (data - self._predict_data(state, index, uncond_velocity))
        return self._move(state, index, data)

    def finish(self, state: Tensor, context: Tensor, is_context: Tensor) -> Tensor:
        """Context frames take the same steps, towards the clean ones, and so end at the last noise level too."""
        assert self._start_state is not None
        moved = self._start_state
        for index in range(len(self.levels)):
            moved = self._move(moved, index, context)
        return torch.where(is_context, moved, state)

    def _predict_data(self, state: Tensor, index: int, velocity: Tensor) -> Tensor:
        level = self._levels[index]
        return (1 - level) * state + -level * velocity

    def _move(self, state: Tensor, index: int, data: Tensor) -> Tensor:
        """One step of Euler's method, towards ``data``."""
        return state + (self._sigmas[index + 1] - self._sigmas[index]) * ((state - data) / self._sigmas[index])


def make_unipc_solver(levels: Sequence[float]) -> FlowSolver:
    """UniPC (Zhao et al. 2023, arXiv 2302.04867) at explicit noise levels; in 10 steps as good as Euler in 20."""
    from diffusers import UniPCMultistepScheduler

    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=1.0)
    scheduler.set_timesteps(sigmas=np.array(levels))
    return FlowSolver(scheduler, levels, levels[0])
