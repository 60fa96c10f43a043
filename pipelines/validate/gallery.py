"""The review page: rejected clips with their reasons, and accepted clips to compare, as a single HTML file.

MLflow displays an HTML artifact but none of its neighboring files, so videos, style and script are embedded.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import write_atomic

STATES = {"rejected": "Rejected", "unmeasured": "Not measurable", "accepted": "Accepted, for comparison"}


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasureBar:
    """One measure with the ``limit`` that it may reach, if there is one.

    ``value`` is None if it could not be measured, and ``reason`` says why. ``is_reason``: the measure is among the
    reasons of the verdict, individually or in combination with others.
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
    """One clip of the page: ``video`` is an H.264 mp4 with drawn tracks, ``tags`` are short texts such as its domain.

    ``reasons`` are pairs of a code, by which the page filters, and a sentence.
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
    """At most ``limit`` clip ids that cover every reason: one clip per reason in turn, rare reasons first.

    ``reasons`` has the reason codes of each clip id. The result keeps the order of the clips.
    """
    by_code: dict[str, list[str]] = {}
    for clip_id, codes in reasons.items():
        for code in codes or ("",):
            by_code.setdefault(code, []).append(clip_id)
    by_rarity = sorted(by_code.items(), key=lambda item: (len(item[1]), item[0]))
    queues = [list(reversed(clips)) for _, clips in by_rarity]
    chosen: set[str] = set()
    while len(chosen) < limit and any(queues):
        for queue in queues:
            while queue and queue[-1] in chosen:
                queue.pop()
            if queue and len(chosen) < limit:
                chosen.add(queue.pop())
    return [clip_id for clip_id in reasons if clip_id in chosen]


def write_gallery(path: Path, cards: Iterable[Card], *, title: str, summary: Sequence[tuple[str, str]]) -> None:
    """Write the page; ``summary`` are the figures at the top, as pairs of a label and a value."""
    write_atomic(path, render_page(list(cards), title=title, summary=summary).encode())


def render_page(cards: Sequence[Card], *, title: str, summary: Sequence[tuple[str, str]]) -> str:
    """The page as HTML: rejected clips first, then unmeasured, then accepted ones."""
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
<main>{sections or "<p>No clips to show.</p>"}</main>
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
    # Reason codes by frequency, then the states of clips without a reason.
    codes = sorted(counts, key=lambda code: (code in STATES, -counts[code], code))
    filters = [("", "all", len(cards)), *((code, _humanize(code), counts[code]) for code in codes)]
    buttons = "".join(
        f'<button type="button" data-code="{escape(code)}" aria-pressed="{"false" if code else "true"}">'
        f"{escape(title)} <span>{count}</span></button>"
        for code, title, count in filters
    )
    return f'<nav aria-label="Filter by reason">{buttons}</nav>'


def _render_section(title: str, cards: Sequence[Card]) -> str:
    return f"<section><h2>{title}</h2><div>{''.join(map(_render_card, cards))}</div></section>" if cards else ""


def _codes(card: Card) -> list[str]:
    """The codes by which the page filters a card: its reasons, or its state if it has none."""
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
        reason = f": {bar.reason}" if bar.reason else ""
        return f'<tr class="none">{name}<td colspan=2>not measurable{escape(reason)}</td></tr>'
    # The axis extends to 1.5 times the limit, and up to 5 times the limit to show larger values.
    scale = abs(bar.value if bar.limit is None else bar.limit) or 1.0
    axis_max = min(max(1.5 * scale, bar.value), 5 * scale)
    css_class, tick, limit = "open", "", "no limit"
    if bar.limit is not None:
        css_class = "broken" if bar.is_broken else "kept"
        tick = f'<s style="left:{_percent(bar.limit / axis_max)}"></s>'
        limit = f"limit {_number(bar.limit)}"
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
    """A code or a name in lower case with spaces: ``TRACK_EPIPOLAR`` becomes "track epipolar"."""
    return code.replace("_", " ").lower()
