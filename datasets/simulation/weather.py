"""Random weather: day, dusk and rain."""

import numpy as np

from driveforge.datasets.domains import DAY, DUSK, RAIN, WEATHER_VARIANTS
from driveforge.datasets.errors import UserError
from driveforge.datasets.simulation.world import Weather


def sample_weather(variant: str, rng: np.random.Generator) -> Weather:
    """Random weather of the given variant; raises UserError for an unknown variant."""
    azimuth = rng.uniform(0, 2 * np.pi)
    bearing = (np.cos(azimuth), np.sin(azimuth))
    if variant == DAY:
        return _day(bearing, rng)
    if variant == DUSK:
        return _dusk(bearing, rng)
    if variant == RAIN:
        return _rain(bearing, rng)
    raise UserError(f"unknown weather {variant!r}; choose from {', '.join(WEATHER_VARIANTS)}")


def _day(bearing: tuple[float, float], rng: np.random.Generator) -> Weather:
    sun = rng.uniform(0.55, 0.95)
    blue = rng.uniform(0, 1)
    return Weather(
        sun_direction=(*bearing, rng.uniform(0.5, 1.4)), sun=(0.62 * sun, 0.6 * sun, 0.54 * sun),
        ambient=(0.58, 0.61, 0.66),
        zenith=(70 + 60 * (1 - blue), 125 + 40 * (1 - blue), 205), horizon=(198, 212, 226), cloud=(244, 245, 247),
        cloudiness=rng.uniform(0.2, 0.75), haze_m=rng.uniform(170, 320), glow=0.12,
    )  # fmt: skip


def _dusk(bearing: tuple[float, float], rng: np.random.Generator) -> Weather:
    red = rng.uniform(0, 1)
    return Weather(
        sun_direction=(*bearing, 0.25), sun=(0.30, 0.17, 0.08), ambient=(0.40, 0.38, 0.46),
        zenith=(38, 46, 88), horizon=(196 + 25 * red, 128, 98 - 20 * red), cloud=(168, 104, 104),
        cloudiness=rng.uniform(0.2, 0.6), haze_m=rng.uniform(160, 260), glow=1.25,
    )  # fmt: skip


def _rain(bearing: tuple[float, float], rng: np.random.Generator) -> Weather:
    gray = rng.uniform(0.85, 1.05)
    return Weather(
        sun_direction=(*bearing, 1.5), sun=(0.05, 0.05, 0.05), ambient=(0.60 * gray, 0.63 * gray, 0.67 * gray),
        zenith=(122 * gray, 130 * gray, 138 * gray), horizon=(164 * gray, 170 * gray, 175 * gray),
        cloud=(108, 113, 120), cloudiness=rng.uniform(0.7, 1.0), haze_m=rng.uniform(75, 130), glow=0.55, wetness=1.0,
    )  # fmt: skip
