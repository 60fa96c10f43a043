"""The memory of a device and the rate of its matmuls: measured where it is present, else from a table of GPUs."""

import time
from dataclasses import dataclass
from typing import Literal

import psutil
import torch

from driveforge.pipelines.train.estimate.settings import EstimateSettings

Precision = Literal["32", "bf16"]
GIB = 2**30
# Of the nominal rate, an 8192^3 bf16 matmul reached 0.80 to 0.82 on an H100, and 0.78 on an H200.
_MATMUL_SHARE = 0.8
# Memory in GiB as torch reports it, and nominal dense TFLOP/s in bf16 and in float32 (without TF32), of data sheets.
_GPUS = {
    "H100": (79.1, 989.0, 67.0),
    "H200": (139.8, 989.0, 67.0),
    "A100-80GB": (79.2, 312.0, 19.5),
    "A100-40GB": (39.4, 312.0, 19.5),
    "L40S": (44.4, 362.0, 91.6),
    "RTX-4090": (23.6, 165.0, 82.6),
}
_DTYPES: dict[Precision, torch.dtype] = {"32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """A device with ``memory`` in bytes, and FLOP/s of a large matmul by precision; ``source`` says where from."""

    name: str
    memory: float
    matmul: dict[Precision, float]
    source: Literal["measured", "data sheet"]


def find_device(settings: EstimateSettings) -> Device:
    """This machine's device of the kind ``settings.device``, or the GPU ``settings.gpu`` if it has none."""
    if settings.device == "cuda" and not torch.cuda.is_available():
        memory, bf16, single = _GPUS[settings.gpu]
        assumed: dict[Precision, float] = {"bf16": _MATMUL_SHARE * bf16 * 1e12, "32": _MATMUL_SHARE * single * 1e12}
        return Device(name=settings.gpu, memory=memory * GIB, matmul=assumed, source="data sheet")
    matmul = {name: measure_matmul(settings.device, dtype) for name, dtype in _DTYPES.items()}
    if settings.device == "cpu":
        return Device(name="CPU", memory=psutil.virtual_memory().total, matmul=matmul, source="measured")
    properties = torch.cuda.get_device_properties(0)
    return Device(name=properties.name, memory=properties.total_memory, matmul=matmul, source="measured")


def measure_matmul(device: str, dtype: torch.dtype) -> float:
    """FLOP/s of a square matmul: the best of a few, of 8192^3 on a GPU and of 1024^3 on a CPU."""
    side, repeats = (8192, 10) if device == "cuda" else (1024, 5)
    # Random values: a GPU multiplies constant matrices faster, because less power is drawn.
    a = torch.randn(side, side, device=device, dtype=dtype)
    seconds = []
    for _ in range(repeats):
        _synchronize(device)
        start = time.perf_counter()
        a @ a
        _synchronize(device)
        seconds.append(time.perf_counter() - start)
    return 2 * side**3 / min(seconds)


def _synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
