"""Settings of the search for sampler settings."""

from dataclasses import dataclass
from typing import Annotated

from driveforge.datasets.settings import Range


@dataclass(frozen=True, kw_only=True, slots=True)
class TuneSettings:
    """The grid of sampler settings to try, and the clips to try them with."""

    num_clips: Annotated[int, "clips generated with each setting", Range(1)]
    num_steps: Annotated[tuple[int, ...], "numbers of sampling steps"]
    strength: Annotated[tuple[float, ...], "noise levels to start at; without a first frame always 1"]
    guidance_scale: Annotated[tuple[float, ...], "classifier-free guidance scales"]
    seed: Annotated[int, "seed of the requests and their noise, the same for every setting", Range(0)]
