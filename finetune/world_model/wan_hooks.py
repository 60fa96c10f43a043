"""Forward hooks of Wan transformers, whose forward has no arguments for domains, views and further conditions."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

ForwardHook = Callable[[nn.Module, object, Sequence[Tensor]], tuple[Tensor, ...]]


@contextmanager
def hooks_registered(hooks: Mapping[nn.Module, ForwardHook]) -> Iterator[None]:
    """Register forward hooks by module for the duration of one call."""
    handles = [module.register_forward_hook(hook) for module, hook in hooks.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def add_modulation(extra: Tensor) -> ForwardHook:
    """A hook on Wan's condition embedder that adds ``extra`` (B, 6 D) to the time modulation of every block.

    The modulation is (B, 6 D), or (B, tokens, 6 D) if every token has its own timestep.
    """

    def hook(_module: nn.Module, _inputs: object, outputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        temb, modulation, *rest = outputs
        added = extra if modulation.ndim == 2 else extra[:, None]
        return temb, modulation + added.to(modulation.dtype), *rest

    return hook


def repeat_rope_per_view(num_views: int) -> ForwardHook:
    """A hook on Wan's rotary embedding: the frames of every view are numbered from zero, so equal times match."""

    def hook(_module: nn.Module, _inputs: object, outputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return tuple(x[:, : x.shape[1] // num_views].repeat(1, num_views, 1, 1) for x in outputs)

    return hook


def add_embedding(extra: Tensor) -> Callable[[nn.Module, object, Tensor], Tensor]:
    """A hook on a patch embedding that adds ``extra``, of the shape of its output."""

    def hook(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        return output + extra.to(output.dtype)

    return hook
