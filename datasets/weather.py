"""Weather and time of day of a driving scene, as words."""

import re

from driveforge.datasets.domains import DRIVING_DAY, DRIVING_DUSK, DRIVING_RAIN
from driveforge.datasets.scene import Scene

WEATHER = ("dry", "rain")
TIMES_OF_DAY = ("day", "dusk", "night")


def weather_and_time(scene: Scene) -> tuple[str, str]:
    """One of ``WEATHER`` and one of ``TIMES_OF_DAY``; "" for both if the domain tells neither.

    The domain decides, since an edit of the weather changes it; the caption adds what a domain does not distinguish.
    """
    if scene.domain == DRIVING_DAY:
        return "dry", "day"
    if scene.domain == DRIVING_DUSK:
        return ("rain" if _mentions(scene, "rain") else "dry"), ("night" if _mentions(scene, "night") else "dusk")
    if scene.domain == DRIVING_RAIN:
        return "rain", next((word for word in ("night", "dusk") if _mentions(scene, word)), "day")
    return "", ""


def _mentions(scene: Scene, word: str) -> bool:
    return re.search(rf"\b{word}", scene.caption, re.IGNORECASE) is not None
