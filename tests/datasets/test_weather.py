from dataclasses import replace

import pytest

from driveforge.datasets.edits import edit_scene
from driveforge.datasets.weather import weather_and_time
from tests.datasets.small_clips import small_scene


@pytest.mark.parametrize(
    ("domain", "caption", "words"),
    [
        ("driving-day", "parked cars", ("dry", "day")),
        ("driving-dusk", "night, difficult lighting", ("dry", "night")),
        ("driving-dusk", "night, rain, lots of pedestrians", ("rain", "night")),
        ("driving-dusk", "dusk, winding road", ("dry", "dusk")),
        ("driving-rain", "rain, many trucks", ("rain", "day")),
        ("driving-rain", "brain clinic, turn right", ("rain", "day")),
        ("orbit", "a chair at night", ("", "")),
        ("video", "", ("", "")),
    ],
)
def test_words_follow_from_domain_and_caption(domain: str, caption: str, words: tuple[str, str]) -> None:
    assert weather_and_time(replace(small_scene(), domain=domain, caption=caption)) == words


def test_an_edit_of_the_weather_changes_the_words() -> None:
    scene = replace(small_scene(), domain="driving-rain", caption="rain, busy street")
    words = {name: weather_and_time(edit_scene(scene, name)) for name in ("day", "dusk", "as-recorded")}
    assert words == {"day": ("dry", "day"), "dusk": ("dry", "dusk"), "as-recorded": ("rain", "day")}
