"""The names of the strategies, apart from their classes, so that settings can be checked without importing torch."""

from typing import Literal

StrategyName = Literal["naive", "replay", "replay+distill", "der", "l2sp", "ewc", "ewc-rank1", "joint", "interpolate"]
