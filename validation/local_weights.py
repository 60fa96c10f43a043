"""Networks with weights on the local disk; nothing is downloaded.

A TorchScript file contains code that is executed. Load only files that you trust.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from driveforge.datasets.errors import UserError

if TYPE_CHECKING:
    import torch


def require_local(path: Path, what: str) -> None:
    """Raises UserError if ``path`` does not exist."""
    if not path.exists():
        raise UserError(f"{path}: no {what} at this path; give a local file, since nothing is downloaded")


def load_torchscript(path: Path, switches: Sequence[str] = ()) -> Callable[..., Any]:
    """Load the network at ``path`` as a function of tensors.

    Raises UserError if the file is not TorchScript; the loaded network raises it if it fails on its input.
    """
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
