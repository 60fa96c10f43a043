import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driveforge.datasets.errors import UserError
from driveforge.datasets.video import encode_mp4
from driveforge.pipelines.validate.gallery import Card, MeasureBar, render_page, select_covering_clips, write_gallery

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

# Inserted into a copy of the page: after two seconds it writes the state of the page into it.
INSPECTION = """<script>
const errors = [];
addEventListener("error", (event) => errors.push(event.message));
let attempts = 0;
// Videos play by the real clock and the page by a virtual one, so the time until the first frame is unknown.
const inspect = () => {
  const hasPlayed = [...document.querySelectorAll("video")].some((video) => video.currentTime > 0);
  if (!hasPlayed && ++attempts < 500) return setTimeout(inspect, 100);
  document.querySelector('button[data-code="frozen"]').click();
  const visible = [...document.querySelectorAll("article:not([hidden]) h3")].map((title) => title.textContent);
  const videos = [...document.querySelectorAll("video")].map((video) => [video.videoWidth, video.currentTime > 0]);
  const names = performance.getEntriesByType("resource").map((entry) => entry.name);
  const loaded = names.filter((name) => !/^data:/.test(name));
  const seen = document.createElement("pre");
  seen.id = "seen";
  seen.textContent = JSON.stringify({errors, visible, videos, loaded});
  document.body.append(seen);
};
setTimeout(inspect, 2000);
</script>"""


def _video(shade: int = 0) -> bytes:
    frames = np.full((9, 32, 48, 3), shade, np.uint8)
    frames[np.arange(9), :, np.arange(9) * 4] = 255
    return encode_mp4(frames, 10.0)


def _cards() -> list[Card]:
    measure_bars = (
        MeasureBar(name="static_residual", value=4.1, limit=1.9, unit="px"),
        MeasureBar(name="TRACK_LOSS", value=0.2, limit=0.5),
        MeasureBar(name="photometric", value=None, reason="no standing points"),
    )
    drift = ("static_residual", "Points drift 4.1 px <limit 1.9 px>.")
    return [
        Card(
            clip_id="good-0",
            state="accepted",
            video=_video(),
            bars=(MeasureBar(name="static_residual", value=1.0, limit=1.9),),
        ),
        Card(
            clip_id="bad-0",
            state="rejected",
            video=_video(60),
            tags=("driving-day",),
            reasons=(drift,),
            bars=measure_bars,
        ),
        Card(clip_id="bad-1", state="rejected", video=_video(90), reasons=(("frozen", "Nothing moves."), drift)),
    ]


class _Structure(HTMLParser):
    """Collects the URLs that the page loads, and checks that every element is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "poster", "srcset")]
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_loads_nothing_from_outside() -> None:
    html = render_page(_cards(), title="Rejected <clips>", summary=[("accepted", "1 & only")])
    structure = _Structure()
    structure.feed(html)
    assert structure.open == []
    assert len(structure.loads) == 3
    assert all(load.startswith("data:video/mp4;base64,") for load in structure.loads)
    assert "url(" not in html and "@import" not in html and "fetch(" not in html
    assert "Rejected &lt;clips&gt;" in html and "1 &amp; only" in html and "&lt;limit 1.9 px&gt;" in html


def test_rejected_clips_come_before_accepted_ones_with_measures_against_limits() -> None:
    html = render_page(_cards(), title="t", summary=[])
    assert html.index("bad-0") < html.index("bad-1") < html.index("good-0")
    broken, kept, missing = re.findall(r'<tr class="(\w+)">(.*?)</tr>', html[html.index("bad-0") : html.index("bad-1")])
    assert broken[0] == "broken" and "4.1 px" in broken[1] and "limit 1.9" in broken[1]
    assert kept[0] == "kept" and "track loss" in kept[1] and "limit 0.5" in kept[1]
    assert missing[0] == "none" and "not measurable: no standing points" in missing[1]


def test_a_page_without_clips() -> None:
    assert "No clips to show" in render_page([], title="t", summary=[])


def test_an_unknown_state_is_refused() -> None:
    with pytest.raises(UserError, match="'failed' is not one of rejected, unmeasured, accepted"):
        Card(clip_id="a", state="failed", video=b"")


@pytest.mark.parametrize(
    ("value", "limit", "broken"), [(1.0, 1.0, False), (1.1, 1.0, True), (9.0, None, False), (None, 1.0, False)]
)
def test_a_bar_is_broken_above_its_limit(value: float | None, limit: float | None, broken: bool) -> None:
    assert MeasureBar(name="a", value=value, limit=limit).is_broken is broken


@given(
    st.dictionaries(st.text("abc", min_size=1, max_size=4), st.lists(st.sampled_from("wxyz"), max_size=3), max_size=30),
    st.integers(0, 12),
)
def test_the_selection_covers_every_reason_if_possible(reasons: dict[str, list[str]], limit: int) -> None:
    chosen = select_covering_clips(reasons, limit)
    assert len(chosen) == min(limit, len(reasons))
    assert chosen == [clip_id for clip_id in reasons if clip_id in set(chosen)]
    codes = {code for listed in reasons.values() for code in listed}
    if limit >= len(codes) + 1:
        assert codes == {code for clip_id in chosen for code in reasons[clip_id]}


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium to open the page in")
def test_a_browser_plays_and_filters_the_clips_without_errors_or_requests(tmp_path: Path) -> None:
    file = tmp_path / "my gallery.html"
    write_gallery(file, _cards(), title="Rejected clips", summary=[("rejected", "2")])
    file.write_text(file.read_text().replace("<head>", "<head>" + INSPECTION))
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--dump-dom"]
    command += ["--disable-background-networking", "--disable-component-update", "--virtual-time-budget=60000"]
    command += ["--autoplay-policy=no-user-gesture-required", f"--user-data-dir={tmp_path / 'profile'}", file.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    found = re.search(r'<pre id="seen">(.*?)</pre>', dom)
    assert found is not None
    seen = json.loads(found.group(1))
    assert seen["errors"] == [] and seen["loaded"] == []
    assert seen["visible"] == ["bad-1"]
    assert [width for width, _ in seen["videos"]] == [48, 48, 48]
    assert any(played for _, played in seen["videos"])
