"""Bytes of live tensors by part, FLOPs, and assumed values of tensors that have shapes only.

All are dispatch modes. ``LiveMemory`` counts real and fake tensors alike, so an estimate can be compared with the same
count of a real run. What a kernel allocates for itself is not a tensor and is not counted.
"""

import weakref
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

OTHER = "other"


class LiveMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The bytes of live storages that operations under the mode return, by part; at first all are ``OTHER``."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live: Counter[str] = Counter()
        self.peak: Counter[str] = Counter()
        self._parts: dict[int, tuple[str, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._add(leaf)
        if self.live.total() > self.peak.total():
            self.peak = self.live.copy()
        return result

    def label(self, tensors: Iterable[Tensor], part: str) -> None:
        """Count the storages of ``tensors`` as ``part``."""
        for tensor in tensors:
            self._add(tensor)
            old, size = self._parts[tensor.untyped_storage()._cdata]
            self.live[old] -= size
            self.live[part] += size
            self._parts[tensor.untyped_storage()._cdata] = (part, size)

    def reset_peak(self) -> None:
        """Start a new phase: the peak so far is what is live now."""
        self.peak = self.live.copy()

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._parts:
            self._parts[key] = (OTHER, storage.nbytes())
            self.live[OTHER] += storage.nbytes()
            weakref.finalize(storage, self._remove, key)

    def _remove(self, key: int) -> None:
        part, size = self._parts.pop(key)
        self.live[part] -= size


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query.shape, key.shape, value.shape))  # type: ignore[no-untyped-call]


def _attention_backward_flops(grad: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_backward_flop_count(grad.shape, query.shape, key.shape, value.shape))  # type: ignore[no-untyped-call]


class FlopCount(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """``total`` FLOPs of matmuls, convolutions and attention by torch's formulas; a multiply-add is two.

    torch's own ``FlopCounterMode`` keeps what gradient checkpointing computes again alive, which would be counted.
    """

    _formulas = {  # noqa: RUF012
        **flop_registry,
        # torch has formulas for the attention of CUDA only.
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward_flops,
    }

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if formula := self._formulas.get(func._overloadpacket):
            self.total += formula(*args, **(kwargs or {}), out_val=result)
        return result


class AssumedValues(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Answers what depends on the values of fake tensors: every number is 1, and every condition holds.

    With it a step takes its largest form: samples have context frames, whose tokens have timesteps of their own. Rows
    that are selected by a condition are one half of the batch, the first half the first time: so the experts of
    Wan 2.2 share a batch, and with one clip the first expert takes it.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._is_second = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        answer = self._answers.get(func)
        found = None if answer is None else answer(self, *args)
        return func(*args, **(kwargs or {})) if found is None else found

    def _number(self, value: Tensor) -> bool | float | int:
        if value.dtype == torch.bool:
            return True
        return 1.0 if value.is_floating_point() else 1

    def _nonzero(self, condition: Tensor) -> Tensor:
        size, half = len(condition), (len(condition) + 1) // 2
        self._is_second = not self._is_second
        rows = half if self._is_second else size - half
        return torch.empty((rows, condition.ndim), dtype=torch.long, device=condition.device)

    def _index(self, values: Tensor, indices: list[Tensor | None]) -> Tensor | None:
        """``values`` if a boolean mask selects from it, else None: the operation itself."""
        is_mask = any(index is not None and index.dtype == torch.bool for index in indices)
        return torch.empty_like(values) if is_mask else None

    _answers: dict[Any, Callable[..., Any]] = {  # noqa: RUF012
        torch.ops.aten._local_scalar_dense.default: _number,
        torch.ops.aten.nonzero.default: _nonzero,
        torch.ops.aten.index.Tensor: _index,
    }
