"""The page in a real Chromium: what a reviewer sees, presses and clicks."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from driveforge.pipelines.review.decisions import read_decision_log
from driveforge.pipelines.review.server import OpenReview
from tests.pipelines.review.small_review import make_decisions, open_small_review, serving, small_config

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SCRIPT = '"><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'


@pytest.fixture
def review(tmp_path: Path) -> OpenReview:
    """30 clips, a third of them rejected for their yaw rate in frames 3 to 5."""
    config = small_config(tmp_path / "run", "validate.audit_share=0.2")
    return open_small_review(config, make_decisions(tmp_path, 30))


@pytest.fixture
def address(review: OpenReview) -> Iterator[str]:
    with serving(review) as address:
        yield address


@pytest.fixture
def page(browser: "Browser", address: str) -> "Iterator[Page]":
    yield from open_page(browser, address)


def open_page(
    browser: "Browser", address: str, name: str = "anna", width: int = 1280, scheme: str = "light"
) -> "Iterator[Page]":
    """The page with a reviewer's name, with errors of its scripts as failures."""
    height = 800 if width == 1280 else 1080
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
    )  # type: ignore[arg-type]
    context.add_init_script(f"localStorage.setItem('driveforge.reviewer', {json.dumps(name)})")
    page, errors = context.new_page(), list[str]()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    page.wait_for_selector(".card")
    until(page, "detail.player.video.readyState >= 2")
    yield page
    context.close()
    assert errors == []


def until(page: "Page", condition: str, seconds: float = 15) -> None:
    """Wait for a condition; the page's own policy forbids what Playwright does for that."""
    deadline = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(30)


def cards(page: "Page") -> list[str]:
    return [card.get_attribute("data-id") or "" for card in page.locator(".card").all()]


def frame(page: "Page") -> int:
    until(page, "!detail.player.video.seeking")
    return int(page.locator("#frame").inner_text().split()[1])


def num_drawn(page: "Page") -> int:
    """The number of pixels that the overlay covers."""
    return int(
        page.evaluate(
            "() => { const c = detail.player.canvas; const d = c.getContext('2d')"
            ".getImageData(0, 0, c.width, c.height).data; let n = 0;"
            " for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n; }"
        )
    )


def test_a_clip_plays_and_steps_frame_by_frame(page: "Page") -> None:
    assert frame(page) == 0 and page.evaluate("detail.player.video.paused")
    page.keyboard.press("Space")
    until(page, "detail.player.video.currentTime > 0.3 && !detail.player.video.paused")
    page.keyboard.press("Space")
    page.keyboard.press("Home")
    for expected in (1, 2, 3):
        page.keyboard.press(".")
        assert frame(page) == expected
        shown = page.evaluate("Math.floor(detail.player.video.currentTime * 10 + 1e-6)")
        assert shown == expected
    page.keyboard.press(",")
    assert frame(page) == 2
    page.keyboard.press("End")
    assert frame(page) == 8
    assert page.locator("#frame").inner_text() == "frame 8 of 8 · 0.80 s"


def test_a_card_plays_by_itself(page: "Page") -> None:
    card = page.locator(".card").nth(2)
    card.locator(".play").click()
    until(page, "cards.live.get('clip-0002').player.video.currentTime > 0.2")
    card.locator(".play").click()
    until(page, "cards.live.get('clip-0002').player.video.paused")
    page.wait_for_timeout(100)
    before = int(card.locator(".frame").inner_text().split()[0])
    card.get_by_title("next frame").click()
    until(page, "!cards.live.get('clip-0002').player.video.seeking")
    assert int(card.locator(".frame").inner_text().split()[0]) == (before + 1) % 9


def test_a_reason_jumps_to_its_frames(page: "Page") -> None:
    page.keyboard.press("j")
    assert page.locator("#detail h2").inner_text() == "clip-0001"
    page.keyboard.press("f")
    assert frame(page) == 3
    page.keyboard.press("Home")
    page.get_by_role("button", name="jump to f3").click()
    assert frame(page) == 3
    page.locator(".card[data-id=clip-0004] .chip.reason").click()
    assert page.locator("#detail h2").inner_text() == "clip-0004" and frame(page) == 3
    assert page.locator(".card[data-id=clip-0004] .frame").inner_text() == "3 / 8"


def test_every_camera_is_shown_and_a_reason_selects_its_own(page: "Page") -> None:
    page.keyboard.press("j")
    page.keyboard.press("c")
    assert page.evaluate("detail.player.video.src").endswith("media/clip-0001/back.mp4")
    assert page.get_by_role("button", name="back", exact=True).get_attribute("aria-pressed") == "true"
    until(page, "detail.player.overlay !== null && detail.player.video.readyState >= 2")
    page.keyboard.press("f")
    assert page.evaluate("detail.player.video.src").endswith("media/clip-0001/front.mp4")
    page.evaluate("detail.jump({ ...detail.row.reasons[0], measure: 'back/pose_yaw', frames: [6] })")
    assert page.evaluate("detail.player.video.src").endswith("media/clip-0001/back.mp4") and frame(page) == 6


def test_overlays_are_switched_and_explained(page: "Page") -> None:
    page.keyboard.press("Home")
    page.keyboard.press(".")
    until(page, "detail.player.overlay !== null")
    both = num_drawn(page)
    page.keyboard.press("2")
    boxes = num_drawn(page)
    assert 0 < boxes < both and "background point" not in page.locator(".legend").inner_text()
    page.keyboard.press("1")
    assert num_drawn(page) == 0 and page.locator(".legend").is_hidden()
    page.keyboard.press("3")
    assert num_drawn(page) > 0 and "commanded epipole" in page.locator(".legend").inner_text()


def test_the_joint_score_and_the_measures_are_shown(page: "Page") -> None:
    page.keyboard.press("j")
    page.wait_for_selector(".verdict-text")
    assert "above it. pose yaw would exceed it alone" in page.locator(".verdict-text").inner_text()
    text = page.locator("table.measures").inner_text()
    assert "4 deg/s" in text and "limit 2 deg/s" in text and "not measurable: no boxes in view" in text
    page.keyboard.press("m")
    until(page, "document.querySelector('#sheet img')?.naturalWidth === 1600", 60)


def test_a_filter_a_search_and_an_order(page: "Page") -> None:
    assert page.locator("#count").inner_text() == "30 clips"
    page.locator("[data-group=reason] label", has_text="pose yaw").click()
    assert page.locator("#count").inner_text() == "10 of 30 clips"
    assert cards(page)[:2] == ["clip-0001", "clip-0004"]
    page.locator("[data-group=edit] label", has_text="dusk").click()
    assert page.locator("#count").inner_text() == "5 of 30 clips"
    page.get_by_role("button", name="Clear all filters").click()
    page.keyboard.press("/")
    page.keyboard.type("clip-0017")
    assert cards(page) == ["clip-0017"] and page.locator("#detail h2").inner_text() == "clip-0017"
    page.locator("#search").fill("")
    page.keyboard.press("Escape")
    page.locator("#measure").select_option("track_epipolar")
    page.locator("#low").fill("0.2025")
    assert page.locator("#count").inner_text() == "5 of 30 clips", "clips 25 to 29"
    page.locator("#order").select_option("measure")
    assert page.evaluate("app.shown.map((row) => row.id)") == [f"clip-{n:04d}" for n in range(29, 24, -1)]
    page.locator("#low").fill("7")
    assert page.locator("#none").is_visible() and page.locator("#count").inner_text() == "0 of 30 clips"


def test_a_link_opens_a_clip_at_a_frame(browser: "Browser", address: str) -> None:
    for page in open_page(browser, f"{address}#clip=clip-0022&frame=4"):
        assert page.locator("#detail h2").inner_text() == "clip-0022" and frame(page) == 4
        page.keyboard.press("j")
        assert page.url.endswith("#clip=clip-0023&frame=0")


def test_verdicts_by_key_are_saved_and_undone(page: "Page", review: OpenReview) -> None:
    page.keyboard.press("j")
    page.keyboard.press("n")
    page.keyboard.type("the truck is that long")
    page.keyboard.press("Escape")
    page.keyboard.press("a")
    page.wait_for_selector(".card[data-id=clip-0001] .chip.accept")
    assert page.locator("#detail h2").inner_text() == "clip-0002", "the next clip is selected"
    assert page.locator(".card[data-id=clip-0001] .badge").inner_text() == "accepted"
    page.keyboard.press("r")
    page.wait_for_selector(".card[data-id=clip-0002] .chip.reject")
    page.keyboard.press("z")
    page.wait_for_selector(".card[data-id=clip-0002] .chip.reject", state="detached")
    assert page.locator("#detail h2").inner_text() == "clip-0002"
    assert page.locator("#progress-text").inner_text() == "1 of 30 reviewed, 1 by you"
    assert page.locator("#apply").inner_text() == "Apply 1 changed verdict"
    log = read_decision_log(review.session._run.decisions)
    assert [(one.clip, one.verdict, one.note) for one in log.decisions] == [
        ("clip-0001", "accept", "the truck is that long"), ("clip-0002", "reject", ""), ("clip-0002", "cleared", ""),
    ]  # fmt: skip
    page.reload()
    page.wait_for_selector(".card[data-id=clip-0001] .chip.accept")


def test_the_first_decision_asks_for_a_name(browser: "Browser", address: str, review: OpenReview) -> None:
    for page in open_page(browser, address, name=""):
        page.keyboard.press("u")
        assert page.locator("#who input").input_value() == "anna", "the user of this machine is suggested"
        page.locator("#who input").fill("ben")
        page.keyboard.press("Enter")
        page.wait_for_selector(".chip.unsure")
    (made,) = read_decision_log(review.session._run.decisions).decisions
    assert (made.reviewer, made.verdict, made.clip) == ("ben", "unsure", "clip-0000")


def test_two_reviewers_see_each_other(browser: "Browser", address: str) -> None:
    for anna in open_page(browser, address):
        for ben in open_page(browser, address, "ben"):
            ben.wait_for_selector(".looking:not([hidden])", timeout=10_000)
            assert "anna is looking at this clip too" in ben.locator(".looking").inner_text()
            anna.keyboard.press("a")
            ben.wait_for_selector(".card[data-id=clip-0000] .chip.accept", timeout=10_000)
            assert "accept · anna" in ben.locator(".others").inner_text()
            ben.keyboard.press("r")
            anna.wait_for_selector(".card[data-id=clip-0000] .chip.disputed", timeout=10_000)
            assert anna.locator(".card[data-id=clip-0000] .badge").inner_text() == "rejected"


def test_markup_in_a_note_and_a_name_is_only_text(browser: "Browser", address: str) -> None:
    for page in open_page(browser, address, SCRIPT[:60]):
        page.locator("#note").fill(SCRIPT)
        page.keyboard.press("Control+Enter")
        page.wait_for_selector(".card[data-id=clip-0000] .chip.unsure")
        page.keyboard.press("k")
        until(page, "document.querySelector('.others p') !== null")
        assert page.locator(".others p").inner_text() == SCRIPT
        page.reload()
        page.wait_for_selector(".card")
        page.wait_for_timeout(300)
        assert page.evaluate("window.hacked") is None
        assert page.locator("img[src=x]").count() == 0


def test_the_blind_audit_hides_what_the_gate_says(page: "Page", review: OpenReview) -> None:
    page.keyboard.press("b")
    sample = review.session.sample
    assert page.evaluate("app.shown.map((row) => row.id)") == sample
    assert {review.table.states[clip] for clip in sample} == {"accepted", "rejected"}
    text = page.locator("main").inner_text()
    assert not any(word in text for word in ("accepted", "rejected", "pose yaw", "limit", "/ 0.00"))
    assert page.locator(".badge:visible, .reasons:visible, .score:visible, #filters:visible .name:visible").count() == 0
    for number in range(len(sample)):
        until(page, f"app.selected === '{sample[number]}'")
        page.keyboard.press("r" if number == 0 else "a")
        until(page, f"Boolean(mine('{sample[number]}'))")
    made = read_decision_log(review.session._run.decisions).decisions
    assert [(one.clip, one.blind) for one in made] == [(clip, True) for clip in sample]
    page.keyboard.press("b")
    until(page, "document.getElementById('estimate').textContent.includes('precision')")


def test_thousands_of_clips_are_few_elements(browser: "Browser", tmp_path: Path) -> None:
    config = small_config(tmp_path / "run")
    with serving(open_small_review(config, make_decisions(tmp_path, 5000))) as address:
        for page in open_page(browser, address):
            assert page.locator("#count").inner_text() == "5,000 clips"
            for place in (0.5, 1.0, 0.0, 1.0):
                page.evaluate("(place) => { cards.box.scrollTop = place * cards.box.scrollHeight; }", place)
                page.wait_for_timeout(100)
                assert 6 <= page.locator(".card").count() <= 40
            assert "clip-4999" in cards(page)
            page.keyboard.press("/")
            page.keyboard.type("pose_yaw clip-49")
            assert page.locator("#count").inner_text() == "34 of 5,000 clips"


@pytest.mark.parametrize("width", [1280, 1920])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_the_window(browser: "Browser", address: str, width: int, scheme: str) -> None:
    for page in open_page(browser, address, width=width, scheme=scheme):
        for selector in ("html", "#filters", "#cards", "#detail"):
            overflow = page.locator(selector).evaluate("(box) => box.scrollWidth - box.clientWidth")
            assert overflow <= 0, selector
        ink, paper = (
            page.locator("#detail").evaluate(f"(box) => getComputedStyle(box).{what}")
            for what in ("color", "backgroundColor")
        )
        assert (_brightness(ink) > _brightness(paper)) == (scheme == "dark")


def _brightness(color: str) -> float:
    return sum(map(float, color[color.index("(") + 1 : -1].split(",")[:3]))


def test_everything_is_reached_by_keyboard(page: "Page") -> None:
    reached = set()
    for _ in range(120):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate(
                "document.activeElement.id || document.activeElement.title || document.activeElement.textContent"
            )
        )
    for wanted in ("search", "order", "audit", "cards", "note", "slider", "source", "all measures on one picture (m)"):
        assert wanted in reached


def test_a_reviewer_who_wants_no_motion_gets_none(page: "Page", browser: "Browser", address: str) -> None:
    page.keyboard.press("j")
    page.locator(".card").nth(3).hover()
    page.wait_for_timeout(400)
    assert page.evaluate("[...document.querySelectorAll('video')].every((video) => video.paused)")
    context = browser.new_context(reduced_motion="no-preference")
    moving = context.new_page()
    moving.goto(address)
    until(moving, "typeof detail !== 'undefined' && detail.player?.video.currentTime > 0.1")
    context.close()


def test_a_server_that_ended_is_noticed(browser: "Browser", review: OpenReview) -> None:
    with serving(review) as address:
        pages = open_page(browser, address)
        page = next(pages)
    page.wait_for_selector("#lost:not([hidden])", timeout=10_000)
    page.keyboard.press("a")
    page.wait_for_selector(".toast.bad")
    assert "Not saved" in page.locator(".toast.bad").inner_text()
    assert read_decision_log(review.session._run.decisions).decisions == ()
