"""Parameters with their optimizer and average, and recovery from divergence."""

from collections.abc import Iterable
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

_BETAS = (0.9, 0.98)


class Learner:
    """AdamW and an exponential moving average of ``parameters``. Biases and norms have no weight decay.

    ``rate`` is the current peak learning rate.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        learning_rate: float,
        weight_decay: float,
        ema_decay: float,
        max_grad_norm: float,
    ) -> None:
        self.parameters = list(parameters)
        self.rate = learning_rate
        self._max_grad_norm = max_grad_norm
        matrices = [p for p in self.parameters if p.ndim >= 2]
        others = [p for p in self.parameters if p.ndim < 2]
        groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
        self._optimizer = torch.optim.AdamW(groups, learning_rate, _BETAS, fused=True)
        self._ema = EMAModel(self.parameters, decay=ema_decay, foreach=True)
        self._good = [value.clone() for value in self._ema.shadow_params]

    def step(self, loss: Tensor, factor: float) -> Tensor:
        """One step at ``factor`` of the peak learning rate; returns the norm of the gradient before clipping."""
        for group in self._optimizer.param_groups:
            group["lr"] = self.rate * factor
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.parameters, self._max_grad_norm or float("inf"), foreach=True)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._ema.step(self.parameters)
        return norm

    def keep_good(self) -> None:
        """Keep the average for ``recover``; call it while the loss is finite."""
        torch._foreach_copy_(self._good, self._ema.shadow_params)

    @torch.no_grad()
    def recover(self) -> None:
        """Return to the average that was kept last, at half the learning rate."""
        for parameter, average, good in zip(self.parameters, self._ema.shadow_params, self._good, strict=True):
            parameter.copy_(good)
            average.copy_(good)
        self._optimizer.state.clear()
        self.rate /= 2

    def copy_average(self) -> None:
        """Replace the parameters by their average."""
        self._ema.copy_to(self.parameters)

    def state_dict(self) -> dict[str, Any]:
        return {
            "parameters": [parameter.detach() for parameter in self.parameters],
            "optimizer": self._optimizer.state_dict(),
            "ema": self._ema.state_dict(),
            "rate": self.rate,
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        for parameter, value in zip(self.parameters, state["parameters"], strict=True):
            parameter.copy_(value)
        self._optimizer.load_state_dict(state["optimizer"])
        self._ema.load_state_dict(state["ema"])
        self._ema.to(self.parameters[0].device)
        self._good = [value.clone() for value in self._ema.shadow_params]
        self.rate = state["rate"]
