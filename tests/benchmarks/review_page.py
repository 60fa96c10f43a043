"""How fast the review page is with thousands of clips, in Chromium; with ``--pictures``, its pictures for the docs.

python -m tests.benchmarks.review_page
python -m tests.benchmarks.review_page --pictures docs runs/demo
"""

import argparse
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich import get_console
from rich.table import Table

from driveforge.pipelines.config.saved import load_settings
from driveforge.pipelines.review.command import open_review
from driveforge.pipelines.validate.gate import Decision
from driveforge.validation.catalog import DEFINITIONS
from driveforge.validation.records import make_measure
from tests.pipelines.review.small_review import make_decisions, open_small_review, serving, small_config

NUM_CLIPS = 5000
REPEATS = 5
_SCROLL = """async () => {
  const times = [];
  let last = performance.now();
  for (let step = 0; step < 120; step++) {
    cards.box.scrollTop += 400;
    await new Promise(requestAnimationFrame);
    const now = performance.now();
    times.push(now - last);
    last = now;
  }
  return times;
}"""
_FILTER = """async (text) => {
  const start = performance.now();
  const search = document.getElementById("search");
  search.value = text;
  search.dispatchEvent(new Event("input"));
  await new Promise(requestAnimationFrame);
  return performance.now() - start;
}"""


def with_every_measure(decision: Decision) -> Decision:
    """``decision`` on a clip that has a value of every measure in the catalog, as generated clips have."""
    number = int(decision.candidate.metadata["seed"])
    known = {m.name for m in decision.candidate.measures.values}
    others = tuple(make_measure(name, 0.1 + number * 1e-5) for name in DEFINITIONS if name not in known)
    measures = replace(decision.candidate.measures, values=(*decision.candidate.measures.values, *others))
    return replace(decision, candidate=replace(decision.candidate, measures=measures))


def measure_page(browser: Any, address: str) -> dict[str, float]:
    """Seconds until the first cards are shown, and milliseconds of a frame while scrolling and of a search."""
    page = browser.new_page(viewport={"width": 1920, "height": 1080})
    start = time.perf_counter()
    page.goto(address)
    page.wait_for_selector(".card")
    opened = time.perf_counter() - start
    page.wait_for_timeout(1500)
    frames = page.evaluate(_SCROLL)
    found = [page.evaluate(_FILTER, text) for text in ("pose_yaw", "clip-49", "")]
    page.close()
    return {
        "open, s": opened,
        "frame while scrolling, median ms": float(np.median(frames)),
        "frame while scrolling, 95 % ms": float(np.quantile(frames, 0.95)),
        "search, worst ms": max(found),
    }


def draw_pictures(browser: Any, run_dir: Path, folder: Path) -> None:
    """The page with a rejected clip, light and wide, and dark and narrow."""
    config, _ = load_settings(run_dir, (), [f"run_dir={run_dir}"])
    with serving(open_review(config)) as address:
        for name, width, height, scheme, keys in (
            ("review.png", 1920, 1080, "light", "kf3s"),
            ("review-dark.png", 1280, 800, "dark", "kf"),
        ):
            page = browser.new_page(
                viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
            )
            page.goto(address)
            page.wait_for_selector(".card")
            for key in ("jjj" if name == "review.png" else "") + keys:
                page.wait_for_timeout(300)
                page.keyboard.press(key)
            page.wait_for_timeout(5000)
            page.screenshot(path=str(folder / name))
            page.close()


def main() -> None:
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, metavar="DIR")
    parser.add_argument("run", type=Path, nargs="?", metavar="RUN")
    args = parser.parse_args()
    with sync_playwright() as driver, tempfile.TemporaryDirectory() as scratch:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        if args.pictures is not None:
            draw_pictures(browser, args.run, args.pictures)
            return
        folder = Path(scratch)
        decisions = [with_every_measure(decision) for decision in make_decisions(folder, NUM_CLIPS)]
        review = open_small_review(small_config(folder / "run"), decisions)
        with serving(review) as address:
            results = [measure_page(browser, address) for _ in range(REPEATS)]
    table = Table("", "median", "worst", title=f"{NUM_CLIPS:,} clips, {REPEATS} times")
    for name in results[0]:
        values = [result[name] for result in results]
        table.add_row(name, f"{np.median(values):.2f}", f"{max(values):.2f}")
    get_console().print(table)


if __name__ == "__main__":
    main()
