"""A page that shows what the gate rejected and why, beside what it accepted: one HTML file that loads nothing else.

MLflow shows such a file in the browser, but none of the files next to it; so videos, style and script stand inside.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import write_atomic

STATES = {"rejected": "Rejected", "unmeasured": "Could not be measured", "accepted": "Accepted, to compare"}


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasureBar:
    """One measure beside the largest value that is accepted, if there is such a ``limit``.

    ``value`` is None where the measure could not be taken; ``reason`` then says why. ``is_reason``: among the reasons,
    if only together with others.
    """

    name: str
    value: float | None
    limit: float | None = None
    unit: str = ""
    reason: str = ""
    is_reason: bool = False

    @property
    def is_broken(self) -> bool:
        return self.value is not None and self.limit is not None and self.value > self.limit


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """One clip of the page: ``video`` is an H.264 mp4 with its tracks drawn, ``tags`` a few words such as its domain.

    ``reasons`` are pairs of a code, by which the page filters, and a sentence for people.
    """

    clip_id: str
    state: str
    video: bytes
    tags: tuple[str, ...] = ()
    reasons: tuple[tuple[str, str], ...] = ()
    bars: tuple[MeasureBar, ...] = ()

    def __post_init__(self) -> None:
        if self.state not in STATES:
            raise UserError(f"{self.clip_id}: state {self.state!r} is not one of {', '.join(STATES)}")


def select_covering_clips(reasons: Mapping[str, Sequence[str]], limit: int) -> list[str]:
    """At most ``limit`` clip ids that show every reason: taken in turn, one reason after the other.

    ``reasons`` gives the reason codes of each clip id. Rare reasons come first; the result keeps the clips' order.
    """
    by_code: dict[str, list[str]] = {}
    for clip_id, codes in reasons.items():
        for code in codes or ("",):
            by_code.setdefault(code, []).append(clip_id)
    queues_by_code = [
        list(reversed(clips)) for _, clips in sorted(by_code.items(), key=lambda item: (len(item[1]), item[0]))
    ]
    chosen: set[str] = set()
    while len(chosen) < limit and any(queues_by_code):
        for queue in queues_by_code:
            while queue and queue[-1] in chosen:
                queue.pop()
            if queue and len(chosen) < limit:
                chosen.add(queue.pop())
    return [clip_id for clip_id in reasons if clip_id in chosen]


def write_gallery(path: Path, cards: Iterable[Card], *, title: str, summary: Sequence[tuple[str, str]]) -> None:
    """Write the page; ``summary`` are the figures at its top, as pairs of a label and a value."""
    write_atomic(path, render_page(list(cards), title=title, summary=summary).encode())


def render_page(cards: Sequence[Card], *, title: str, summary: Sequence[tuple[str, str]]) -> str:
    """The whole page as HTML: rejected clips first, then unmeasured, then accepted ones."""
    sections = "".join(
        _render_section(title, [c for c in cards if c.state == state]) for state, title in STATES.items()
    )
    figures = "".join(f"<div><dt>{escape(label)}</dt><dd>{escape(value)}</dd></div>" for label, value in summary)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<style>{_asset("gallery.css")}</style>
</head>
<body>
<header>
<h1>{escape(title)}</h1>
<dl class="figures">{figures}</dl>
{_render_filters(cards)}
</header>
<main>{sections or "<p>No clips to print_result.</p>"}</main>
<script>{_asset("gallery.js")}</script>
</body>
</html>
"""


def _asset(name: str) -> str:
    return resources.files("driveforge.pipelines.validate").joinpath(name).read_text("utf-8")


def _render_filters(cards: Sequence[Card]) -> str:
    counts: dict[str, int] = {}
    for card in cards:
        for code in _codes(card):
            counts[code] = counts.get(code, 0) + 1
    codes = sorted(counts, key=lambda code: (code in STATES, -counts[code], code))
    chips = [("", "all", len(cards)), *((code, _humanize(code), counts[code]) for code in codes)]
    buttons = "".join(
        f'<button type="button" data-code="{escape(code)}" aria-pressed="{"false" if code else "true"}">'
        f"{escape(title)} <span>{count}</span></button>"
        for code, title, count in chips
    )
    return f'<nav aria-label="Show only">{buttons}</nav>'


def _render_section(title: str, cards: Sequence[Card]) -> str:
    return f"<section><h2>{title}</h2><div>{''.join(map(_render_card, cards))}</div></section>" if cards else ""


def _codes(card: Card) -> list[str]:
    """What the page filters a card by: its reasons, or its state where there is none."""
    return list(dict.fromkeys(code for code, _ in card.reasons)) or [card.state]


def _render_card(card: Card) -> str:
    source = f"data:video/mp4;base64,{base64.b64encode(card.video).decode()}"
    tags = "".join(f"<li>{escape(word)}</li>" for word in card.tags)
    reasons = "".join(f"<li><b>{escape(_humanize(code))}</b> {escape(text)}</li>" for code, text in card.reasons)
    reason_bars = [bar for bar in card.bars if bar.is_reason or bar.is_broken]
    others = [bar for bar in card.bars if bar not in reason_bars]
    return f"""
<article class="{card.state}" data-codes="{escape(" ".join(_codes(card)))}">
<video src="{source}" muted loop playsinline preload="auto" title="click to pause"></video>
<span class="state">{card.state}</span>
<h3>{escape(card.clip_id)}</h3>
<ul class="tags">{tags}</ul>
<ul class="reasons">{reasons}</ul>
{_render_table(reason_bars)}
{f"<details><summary>{len(others)} other measures</summary>{_render_table(others)}</details>" if others else ""}
</article>"""


def _render_table(bars: Sequence[MeasureBar]) -> str:
    return f"<table>{''.join(map(_render_row, bars))}</table>" if bars else ""


def _render_row(bar: MeasureBar) -> str:
    name = f"<th scope=row>{escape(_humanize(bar.name))}</th>"
    if bar.value is None:
        return (
            f'<tr class="none">{name}<td colspan=2>not measurable'
            f"{escape(f': {bar.reason}' if bar.reason else '')}</td></tr>"
        )
    scale = abs(bar.value if bar.limit is None else bar.limit) or 1.0
    axis_max = min(max(1.5 * scale, bar.value), 5 * scale)
    tick = "" if bar.limit is None else f'<s style="left:{_percent(bar.limit / axis_max)}"></s>'
    css_class = "open" if bar.limit is None else "broken" if bar.is_broken else "kept"
    limit = "no limit" if bar.limit is None else f"at most {_number(bar.limit)}"
    return (
        f'<tr class="{css_class}">{name}<td class="bar"><i>'
        f'<u style="width:{_percent(bar.value / axis_max)}"></u>{tick}</i></td>'
        f"<td>{_number(bar.value)} {escape(bar.unit)}<small>{limit}</small></td></tr>"
    )


def _percent(share: float) -> str:
    return f"{100 * min(max(share, 0.0), 1.0):.1f}%"


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _humanize(code: str) -> str:
    """A name of ours as people read it: ``TRACK_EPIPOLAR`` is track epipolar."""
    return code.replace("_", " ").lower()
