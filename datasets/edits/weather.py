"""Edits of the weather and the time of day."""

import re
from dataclasses import replace

from driveforge.datasets.domains import driving_domain, is_driving, weather_of
from driveforge.datasets.edits.paths import EditNotApplicable
from driveforge.datasets.scene import Scene


def change_weather(scene: Scene, weather: str) -> Scene:
    """The driving scene in the domain ``driving-<weather>``; the caption names the new weather."""
    domain = driving_domain(weather)
    if not is_driving(scene.domain) or scene.domain == domain:
        raise EditNotApplicable(f"{scene.clip_id}: domain {scene.domain!r} cannot be turned into {domain!r}")
    old_weather = weather_of(scene.domain)
    caption, count = (
        re.subn(rf"\b{re.escape(old_weather)}\b", weather, scene.caption) if old_weather else (scene.caption, 0)
    )
    return replace(scene, domain=domain, caption=caption if count else f"{weather}, {caption}".rstrip(", "))
