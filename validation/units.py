"""The units of measures: how the tail model scales a value, and how a value is shown."""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """A unit of measures.

    ``symbol`` names it in files and tables. Differences between values below ``floor`` are noise: the tail model adds
    the floor before it takes a logarithm. A value that ``is_share`` lies in 0..1 and is modeled on the logit scale.
    ``suffix`` follows a value in a sentence, ``short_suffix`` in a picture. A picture shows a value as it is, as a
    percentage (``percent="share"``), or as the percentage by which exp(value) exceeds 1 (``percent="log"``).
    """

    symbol: str
    floor: float
    is_share: bool = False
    suffix: str = ""
    short_suffix: str = ""
    percent: Literal["share", "log"] | None = None

    def format(self, value: float) -> str:
        """A value in a sentence: ``0.0312 deg/s``."""
        return f"{value:.3g}{self.suffix}"

    def format_short(self, value: float) -> str:
        """A value in a picture: ``3.1 °/s``, ``12 %``."""
        if self.percent is not None:
            share = math.expm1(value) if self.percent == "log" else value
            return f"{100 * share:.0f} %"
        if value < 1:
            return f"{value:.2f}{self.short_suffix}"
        return f"{value:.1f}{self.short_suffix}" if value < 10 else f"{value:.0f}{self.short_suffix}"


# Pixels of the image scaled to 256 rows.
PX = Unit(symbol="px", floor=0.1, suffix=" px", short_suffix=" px")
DEG = Unit(symbol="deg", floor=0.05, suffix=" deg", short_suffix=" °")
DEG_PER_S = Unit(symbol="deg/s", floor=0.05, suffix=" deg/s", short_suffix=" °/s")
M = Unit(symbol="m", floor=0.02, suffix=" m", short_suffix=" m")
SHARE = Unit(symbol="share", floor=0.02, is_share=True, percent="share")
# How far a share rises above the usual value of the same object.
OUTLIER_SCORE = Unit(symbol="outlier score", floor=0.1, is_share=True)
# Compared with the usual value, or with the expected error.
RATIO = Unit(symbol="ratio", floor=0.1, short_suffix=" times")
# Compared with the root of the area of the object's box.
SIZE = Unit(symbol="size", floor=0.05)
# -log of the probability that there are no artifacts.
NAT = Unit(symbol="nat", floor=0.1, short_suffix=" nat")
LOG_GAIN = Unit(symbol="log gain", floor=0.005, short_suffix=" log gain")
# abs(log s) of the factor s on the commanded translation.
LOG_SCALE = Unit(symbol="log scale", floor=0.02, percent="log")
# Log of the factor by which detail changes.
LOG_DETAIL = Unit(symbol="log detail", floor=0.05, percent="log")
# Log of the factor by which gray steps exceed those around them.
LOG_STEP = Unit(symbol="log step", floor=0.1, percent="log")
