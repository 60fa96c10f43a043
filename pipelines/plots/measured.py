"""A measured clip as one picture that needs no explanation: its worst frames, its time line, and what is wrong."""

import io
import textwrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from PIL import Image

from driveforge.datasets.scene import Clip
from driveforge.pipelines.plots.annotations import Shown, marks_of, shown_frames
from driveforge.pipelines.plots.captions import VERDICT_COLOURS, heading, lines_of, subtitle
from driveforge.pipelines.plots.frame_panel import (
    BLAMED,
    BOX,
    COMMANDED,
    LOST,
    SEEN,
    STRAY_COLOURS,
    STRAY_SCALE,
    Still,
    draw_still,
)
from driveforge.pipelines.plots.timeline_panel import COLOURS, WORST, draw_frame_numbers, draw_marks, draw_row, rows_of
from driveforge.validation.calibration import Calibration
from driveforge.validation.measures import Inspected, Measures
from driveforge.validation.review.timeline import timeline
from driveforge.validation.verdict import Verdict, judge

DPI = 100
WIDTH, MARGIN, GAP = 1600, 28, 14
HEAD = 92
FRAME_WIDTH, CAPTION = 552, 26
MAX_FRAME_HEIGHT = 420
WORDS_LEFT = MARGIN + 2 * (FRAME_WIDTH + GAP) + 12
MIN_WORDS_HEIGHT = 440
LABELS, LEGEND = 300, 66
LANE, ROW, BETWEEN, FOOT = 33, 70, 16, 62


def draw_measured(clip: Clip, inspected: Inspected, calibration: Calibration | None) -> bytes:
    """A PNG, ``WIDTH`` px wide, of the reference view of ``clip`` and of what was measured in it."""
    view = inspected.view
    times = timeline(view, inspected.boxes, inspected.tracks)
    verdict = judge(inspected.measures, calibration) if calibration else None
    marks = marks_of(times, verdict)
    shown, rows = shown_frames(times, marks), rows_of(times)
    frame_height = min(MAX_FRAME_HEIGHT, round(FRAME_WIDTH * view.grey.shape[1] / view.grey.shape[2]))
    frames_height = max(MIN_WORDS_HEIGHT, -(-len(shown) // 2) * (frame_height + CAPTION + GAP))
    strip = max(1, len(marks)) * LANE
    height = HEAD + frames_height + LEGEND + strip + BETWEEN + len(rows) * (ROW + BETWEEN) + FOOT
    sheet = _Sheet(height)

    sheet.text(MARGIN, 20, clip.scene.clip_id, fontsize=19, weight="bold")
    sheet.text(MARGIN, 58, subtitle(view, times, len(clip.scene.cameras)), fontsize=11.5, color="#444444")
    blamed = frozenset(mark.track for mark in marks if mark.track)
    for place, chosen in enumerate(shown):
        left = MARGIN + place % 2 * (FRAME_WIDTH + GAP)
        top = HEAD + place // 2 * (frame_height + CAPTION + GAP)
        still = Still(
            frame=chosen.frame,
            pixels=clip.view(view.camera)[chosen.frame],
            view=view,
            boxes=inspected.boxes,
            tracks=inspected.tracks,
            refined=times.refined[chosen.frame],
            blamed=blamed,
        )
        seconds = view.timestamps[chosen.frame] - view.timestamps[0]
        _caption(sheet, left, top, "ABCD"[place], chosen, f"frame {chosen.frame}, {seconds:.1f} s: {chosen.words}")
        axes = sheet.axes(left, top + CAPTION, FRAME_WIDTH, frame_height)
        draw_still(axes, still, chosen.track)
        _draw_residual(axes, times.residual[chosen.frame, 1])
    _draw_words(sheet, frames_height, inspected.measures, verdict, calibration)
    _draw_legend(sheet, HEAD + frames_height)

    top = HEAD + frames_height + LEGEND
    _label(sheet, top, "What stands out" if verdict is None else "What broke a limit or stands out", "")
    draw_marks(sheet.axes(MARGIN + LABELS, top, WIDTH - 2 * MARGIN - LABELS, strip), marks, times.num_frames)
    top += strip + BETWEEN
    worst = {m.name: m.frames for m in inspected.measures.values if m.value is not None}
    for row in rows:
        _label(sheet, top, row.title, row.explained)
        axes = sheet.axes(MARGIN + LABELS, top, WIDTH - 2 * MARGIN - LABELS, ROW)
        draw_row(axes, row, times, marks, [worst.get(name, ()) for name in row.measures])
        top += ROW + BETWEEN
    draw_frame_numbers(axes, shown, times.num_frames)
    return sheet.png()


class _Sheet:
    """A figure that is laid out in pixels from its top left corner."""

    def __init__(self, height: int) -> None:
        self.height = height
        self.figure = Figure(figsize=(WIDTH / DPI, height / DPI), dpi=DPI, facecolor="white")

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        bottom = self.height - top - height
        return self.figure.add_axes((left / WIDTH, bottom / self.height, width / WIDTH, height / self.height))

    def text(self, left: float, top: float, words: str, **style: Any) -> None:
        self.figure.text(left / WIDTH, 1 - top / self.height, words, va="top", **style)

    def png(self) -> bytes:
        """In 256 colours, which photographs bear where they are dithered, in a third of the bytes."""
        canvas = FigureCanvasAgg(self.figure)
        canvas.draw()
        picture = Image.fromarray(np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3]))
        palette = picture.quantize(256, Image.Quantize.FASTOCTREE)
        buffer = io.BytesIO()
        picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(buffer, "PNG", optimize=True)
        return buffer.getvalue()


def _caption(sheet: _Sheet, left: int, top: int, letter: str, shown: Shown, words: str) -> None:
    colour = COLOURS[shown.kind]
    badge = {"boxstyle": "round,pad=0.22", "facecolor": colour, "edgecolor": "none"}
    sheet.text(left + 5, top + 4, letter, fontsize=9.5, weight="bold", color="white", bbox=badge)
    sheet.text(left + 26, top + 4, textwrap.shorten(words, 76, placeholder=" …"), fontsize=9.5, color=colour)


def _draw_residual(axes: Axes, strays: float) -> None:
    if np.isfinite(strays):
        paper = {"facecolor": STRAY_COLOURS(STRAY_SCALE(strays)), "edgecolor": "none", "pad": 2}
        words = f"background {strays:.1f} px off the command"
        axes.text(0.99, 0.025, words, fontsize=8, ha="right", va="bottom", transform=axes.transAxes, bbox=paper)


def _draw_words(
    sheet: _Sheet, height: int, measures: Measures, verdict: Verdict | None, calibration: Calibration | None
) -> None:
    word, limits = heading(verdict, calibration)
    colour = VERDICT_COLOURS[verdict.state] if verdict else "#5b6b7a"
    badge = {"boxstyle": "round,pad=0.35", "facecolor": colour, "edgecolor": "none"}
    sheet.text(WORDS_LEFT + 8, HEAD + 8, word, fontsize=14, weight="bold", color="white", bbox=badge)
    top = _paragraph(sheet, HEAD + 48, limits, 62, fontsize=9, color="#666666") + 10
    lines = lines_of(measures, verdict)
    for number, line in enumerate(lines):
        if top > HEAD + height - 70 and number < len(lines) - 1:
            sheet.text(WORDS_LEFT, top, f"and {len(lines) - number} more", fontsize=10, weight="bold", color=colour)
            break
        if verdict is None or not verdict.reasons:
            sheet.text(WORDS_LEFT + 66, top, line.bold, fontsize=10, weight="bold", ha="right")
            sheet.text(WORDS_LEFT + 76, top, line.words, fontsize=10)
            top += 22
        else:
            sheet.text(WORDS_LEFT, top, line.bold, fontsize=10, weight="bold", color=colour)
            top = _paragraph(sheet, top + 17, line.words, 62, fontsize=9) + 6


def _paragraph(sheet: _Sheet, top: float, words: str, width: int, **style: Any) -> float:
    """Wrapped text; returns where it ends."""
    for line in textwrap.wrap(words, width):
        sheet.text(WORDS_LEFT, top, line, **style)
        top += 15.5
    return top


def _draw_legend(sheet: _Sheet, top: float) -> None:
    """One strip between the frames and the time line."""
    green = STRAY_COLOURS(0.0)
    handles = [
        Line2D([], [], color=green, marker="o", ms=4, lw=1.2, label="point of the background, tail: last 4 frames"),
        Line2D([], [], color=green, marker="s", ms=4, lw=1.2, label="point on an object"),
        Line2D([], [], color=BOX, lw=1.4, label="commanded box"),
        Line2D([], [], color=BLAMED, lw=2.2, label="box of an object that is marked"),
        Line2D([], [], color=LOST, marker="x", ms=5, ls="none", label="point that was lost in this frame"),
        Line2D([], [], color=WORST, lw=3.5, label="worst frames of a measure"),
        Line2D([], [], color=COMMANDED, marker="+", ms=10, mew=2.5, ls="none", label="commanded heading"),
        Line2D([], [], color=SEEN, marker="x", ms=7, mew=2.5, ls="none", label="heading that the pixels show"),
    ]
    handles[6].set_path_effects([withStroke(linewidth=4.5, foreground="black")])
    band = sheet.axes(MARGIN, top, WIDTH - 2 * MARGIN, LEGEND - GAP)
    band.set(facecolor="#e6e9ec", xticks=[], yticks=[])
    band.spines[:].set_visible(False)
    at = (330 / (WIDTH - 2 * MARGIN), 0.5)
    band.legend(handles=handles, loc="center left", bbox_to_anchor=at, ncols=4, fontsize=9, frameon=False)
    bar = sheet.axes(MARGIN + 16, top + 23, 290, 9)
    sheet.figure.colorbar(ScalarMappable(STRAY_SCALE, STRAY_COLOURS), cax=bar, orientation="horizontal", extend="max")
    bar.set_xticks([0, 0.5, 1, 1.5, 2])
    bar.tick_params(labelsize=8, length=2, pad=1.5)
    bar.set_title("px off the command, of 256 rows (pale: none)", fontsize=8.5, loc="left", pad=3)


def _label(sheet: _Sheet, top: float, title: str, explained: str) -> None:
    sheet.text(MARGIN, top + 4, title, fontsize=10.5, weight="bold")
    for number, line in enumerate(textwrap.wrap(explained, 34)):
        sheet.text(MARGIN, top + 24 + 15 * number, line, fontsize=8.5, color="#666666")
