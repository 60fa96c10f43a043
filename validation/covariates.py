"""The covariates of a clip: conditions such as speed and noise, which change the measures of good clips."""

from dataclasses import asdict, dataclass, fields

import numpy as np

from driveforge.datasets.geometry import Array

STATIONARY_M_S = 0.5
FAST_M_S = 15.0
TURNING_DEG_S = 5.0
DARK_GRAY = 70.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipCovariates:
    """The covariates of one clip.

    ``rig`` names the reference camera, its size and its field of view. ``speed`` m/s and ``rotation_rate`` deg/s are
    medians of the command, 0 without one. ``flow`` is the median step of background tracks in px of the image scaled
    to 256 rows. ``noise``, ``brightness`` and ``contrast`` are gray levels.
    """

    rig: str
    frame_rate: float
    speed: float
    rotation_rate: float
    flow: float
    noise: float
    brightness: float
    contrast: float

    def to_vector(self) -> Array:
        """The covariates ``(C,)`` for a regression, on logarithmic scales, in the order of ``COVARIATES``."""
        numbers = asdict(self)
        return np.log([numbers[name] + floor for name, floor in COVARIATES.items()])

    @property
    def motion(self) -> str:
        if self.speed < STATIONARY_M_S:
            return "stationary"
        if self.rotation_rate > TURNING_DEG_S:
            return "turning"
        return "fast" if self.speed > FAST_M_S else "moving"

    @property
    def light(self) -> str:
        return "dark" if self.brightness < DARK_GRAY else "bright"

    def buckets(self) -> tuple[str, ...]:
        """The buckets of similar clips that this one belongs to, from the narrowest to all clips."""
        rig_and_rate = f"{self.rig} at {self.frame_rate:g} Hz"
        return (
            f"{rig_and_rate}, {self.motion}, {self.light}",
            f"{rig_and_rate}, {self.motion}",
            rig_and_rate,
            EVERY_CLIP,
        )


EVERY_CLIP = "every clip"

# With the floor that is added before the logarithm: differences below it are negligible.
COVARIATES = {"speed": 1.0, "rotation_rate": 1.0, "flow": 0.5, "noise": 0.5, "brightness": 10.0, "contrast": 5.0}
assert set(COVARIATES) <= {field.name for field in fields(ClipCovariates)}
