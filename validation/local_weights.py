"""Networks whose weights you have on disk. Nothing is ever downloaded.

A TorchScript file is a program and not data only: what it says is run. Give only files that you trust.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from driveforge.datasets.errors import UserError

if TYPE_CHECKING:
    import torch


def require_local(path: Path, what: str) -> None:
    """A UserError where ``path`` is not there."""
    if not path.exists():
        raise UserError(f"{path}: no {what} there; give a local path, for nothing is downloaded")


def load_torchscript(path: Path, switches: Sequence[str] = ()) -> Callable[..., Any]:
    """The network at ``path``, to be called with tensors; a UserError where it is none, or fails on what it gets."""
    import torch

    require_local(path, "TorchScript file")
    try:
        module: Any = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
        module.eval()
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{path}: not a TorchScript file; save the network with torch.jit.script(...).save") from error

    def call(*tensors: "torch.Tensor") -> Any:
        with torch.inference_mode():
            try:
                return module(*tensors, **dict.fromkeys(switches, True))
            except (RuntimeError, TypeError) as error:
                reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
                shapes = " and ".join(str(tuple(tensor.shape)) for tensor in tensors)
                raise UserError(f"{path}: fails on an input of shape {shapes}: {reason}") from error

    return call
