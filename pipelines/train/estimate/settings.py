"""Settings of the estimate of memory and time."""

from dataclasses import dataclass
from typing import Annotated, Literal

from driveforge.datasets.settings import Range


@dataclass(frozen=True, kw_only=True, slots=True)
class EstimateSettings:
    """The machine that memory and time are estimated for."""

    device: Annotated[Literal["cuda", "cpu"], "kind of device; the kernels of the two differ in memory"]
    gpus: Annotated[int, "devices that train together", Range(1)]
    gpu: Annotated[
        Literal["H100", "H200", "A100-80GB", "A100-40GB", "L40S", "RTX-4090"],
        "GPU to assume if this machine has none",
    ]
    utilization: Annotated[float, "share of the device's matmul rate that a step reaches", Range(0.01, 1)]
