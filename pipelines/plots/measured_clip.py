"""A measured clip as one self-explanatory picture: its worst frames, its timeline, and its verdict."""

import io
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
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
from driveforge.pipelines.plots.annotations import (
    Annotation,
    DisplayedFrame,
    annotate_timeline,
    select_displayed_frames,
)
from driveforge.pipelines.plots.captions import VERDICT_COLORS, caption_lines, subtitle, verdict_heading
from driveforge.pipelines.plots.frame_panel import (
    BOX,
    COMMANDED,
    HIGHLIGHTED,
    LOST,
    OBSERVED,
    RESIDUAL_COLORS,
    RESIDUAL_SCALE,
    PlottedFrame,
    plot_frame,
)
from driveforge.pipelines.plots.timeline_panel import (
    COLORS,
    WORST_COLOR,
    TimelineRow,
    plot_annotations,
    plot_frame_numbers,
    plot_row,
    select_rows,
)
from driveforge.validation.calibration import Calibration
from driveforge.validation.measures import MeasuredClip, Measures
from driveforge.validation.review.timeline import Timeline, build_timeline
from driveforge.validation.verdict import Verdict, judge

DPI = 100
WIDTH, MARGIN, GAP = 1600, 28, 14
HEAD_HEIGHT = 92
FRAME_WIDTH, CAPTION_HEIGHT = 552, 26
MAX_FRAME_HEIGHT = 420
TEXT_LEFT = MARGIN + 2 * (FRAME_WIDTH + GAP) + 12
MIN_TEXT_HEIGHT = 440
LABEL_WIDTH, LEGEND_HEIGHT = 300, 66
LANE_HEIGHT, ROW_HEIGHT, ROW_GAP, FOOT_HEIGHT = 33, 70, 16, 62


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Content:
    """What a picture shows."""

    clip: Clip
    measured_clip: MeasuredClip
    timeline: Timeline
    annotations: Sequence[Annotation]
    displayed: Sequence[DisplayedFrame]
    rows: Sequence[TimelineRow]


def plot_measured_clip(clip: Clip, measured_clip: MeasuredClip, calibration: Calibration | None) -> bytes:
    """A PNG, ``WIDTH`` px wide, of the reference view of ``clip`` and its measures."""
    view = measured_clip.view
    verdict = judge(measured_clip.measures, calibration) if calibration else None
    content = _make_content(clip, measured_clip, verdict)
    frame_height = min(MAX_FRAME_HEIGHT, round(FRAME_WIDTH * view.gray.shape[1] / view.gray.shape[2]))
    num_lines = math.ceil(len(content.displayed) / 2)
    frames_height = max(MIN_TEXT_HEIGHT, num_lines * (frame_height + CAPTION_HEIGHT + GAP))
    strip = max(1, len(content.annotations)) * LANE_HEIGHT
    rows_height = ROW_GAP + len(content.rows) * (ROW_HEIGHT + ROW_GAP)
    sheet = _Sheet(HEAD_HEIGHT + frames_height + LEGEND_HEIGHT + strip + rows_height + FOOT_HEIGHT)

    sheet.text(MARGIN, 20, clip.scene.clip_id, fontsize=19, weight="bold")
    text = subtitle(view, content.timeline, len(clip.scene.cameras))
    sheet.text(MARGIN, 58, text, fontsize=11.5, color="#444444")
    _plot_frames(sheet, content, frame_height)
    _plot_text(sheet, frames_height, measured_clip.measures, verdict, calibration)
    _plot_legend(sheet, HEAD_HEIGHT + frames_height)
    top = HEAD_HEIGHT + frames_height + LEGEND_HEIGHT
    _plot_label(sheet, top, "Outliers" if verdict is None else "Violated limits and outliers", "")
    _plot_timeline(sheet, content, top, strip)
    return sheet.png()


def _make_content(clip: Clip, measured_clip: MeasuredClip, verdict: Verdict | None) -> _Content:
    timeline = build_timeline(measured_clip.view, measured_clip.boxes, measured_clip.tracks)
    annotations = annotate_timeline(timeline, verdict)
    return _Content(
        clip=clip,
        measured_clip=measured_clip,
        timeline=timeline,
        annotations=annotations,
        displayed=select_displayed_frames(timeline, annotations),
        rows=select_rows(timeline),
    )


def _plot_frames(sheet: "_Sheet", content: _Content, frame_height: int) -> None:
    """The displayed frames in two columns, each with a caption above it."""
    view, timeline = content.measured_clip.view, content.timeline
    highlighted = frozenset(annotation.track for annotation in content.annotations if annotation.track)
    for place, displayed_frame in enumerate(content.displayed):
        left = MARGIN + place % 2 * (FRAME_WIDTH + GAP)
        top = HEAD_HEIGHT + place // 2 * (frame_height + CAPTION_HEIGHT + GAP)
        plotted = PlottedFrame(
            frame=displayed_frame.frame,
            pixels=content.clip.view(view.camera)[displayed_frame.frame],
            view=view,
            boxes=content.measured_clip.boxes,
            tracks=content.measured_clip.tracks,
            refined=timeline.refined[displayed_frame.frame],
            highlighted=highlighted,
        )
        seconds = view.timestamps[displayed_frame.frame] - view.timestamps[0]
        text = f"frame {displayed_frame.frame}, {seconds:.1f} s: {displayed_frame.description}"
        _plot_caption(sheet, left, top, "ABCD"[place], displayed_frame, text)
        axes = sheet.axes(left, top + CAPTION_HEIGHT, FRAME_WIDTH, frame_height)
        plot_frame(axes, plotted, displayed_frame.track)
        _plot_residual(axes, timeline.residual[displayed_frame.frame, 1])


def _plot_timeline(sheet: "_Sheet", content: _Content, top: int, strip: int) -> None:
    """The annotations in a strip at ``top``, and the curves below it."""
    left, width, timeline = MARGIN + LABEL_WIDTH, WIDTH - 2 * MARGIN - LABEL_WIDTH, content.timeline
    plot_annotations(sheet.axes(left, top, width, strip), content.annotations, timeline.num_frames)
    top += strip + ROW_GAP
    worst = {m.name: m.frames for m in content.measured_clip.measures.values if m.value is not None}
    for row in content.rows:
        _plot_label(sheet, top, row.title, row.explanation)
        axes = sheet.axes(left, top, width, ROW_HEIGHT)
        plot_row(axes, row, timeline, content.annotations, [worst.get(name, ()) for name in row.measures])
        top += ROW_HEIGHT + ROW_GAP
    plot_frame_numbers(axes, content.displayed, timeline.num_frames)


class _Sheet:
    """A figure with a layout in pixels from its top left corner."""

    def __init__(self, height: int) -> None:
        self.height = height
        self.figure = Figure(figsize=(WIDTH / DPI, height / DPI), dpi=DPI, facecolor="white")

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        bottom = self.height - top - height
        return self.figure.add_axes((left / WIDTH, bottom / self.height, width / WIDTH, height / self.height))

    def text(self, left: float, top: float, text: str, **style: Any) -> None:
        self.figure.text(left / WIDTH, 1 - top / self.height, text, va="top", **style)

    def png(self) -> bytes:
        """The figure in 256 dithered colors, which takes a third of the bytes of full color."""
        canvas = FigureCanvasAgg(self.figure)
        canvas.draw()
        picture = Image.fromarray(np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3]))
        palette = picture.quantize(256, Image.Quantize.FASTOCTREE)
        buffer = io.BytesIO()
        picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(buffer, "PNG", optimize=True)
        return buffer.getvalue()


def _plot_caption(sheet: _Sheet, left: int, top: int, letter: str, displayed: DisplayedFrame, text: str) -> None:
    color = COLORS[displayed.kind]
    badge = {"boxstyle": "round,pad=0.22", "facecolor": color, "edgecolor": "none"}
    sheet.text(left + 5, top + 4, letter, fontsize=9.5, weight="bold", color="white", bbox=badge)
    sheet.text(left + 26, top + 4, textwrap.shorten(text, 76, placeholder=" …"), fontsize=9.5, color=color)


def _plot_residual(axes: Axes, residual_px: float) -> None:
    if np.isfinite(residual_px):
        paper = {"facecolor": RESIDUAL_COLORS(RESIDUAL_SCALE(residual_px)), "edgecolor": "none", "pad": 2}
        text = f"background residual {residual_px:.1f} px"
        axes.text(0.99, 0.025, text, fontsize=8, ha="right", va="bottom", transform=axes.transAxes, bbox=paper)


def _plot_text(
    sheet: _Sheet, height: int, measures: Measures, verdict: Verdict | None, calibration: Calibration | None
) -> None:
    verdict_text, limits = verdict_heading(verdict, calibration)
    color = VERDICT_COLORS[verdict.state] if verdict else "#5b6b7a"
    badge = {"boxstyle": "round,pad=0.35", "facecolor": color, "edgecolor": "none"}
    sheet.text(TEXT_LEFT + 8, HEAD_HEIGHT + 8, verdict_text, fontsize=14, weight="bold", color="white", bbox=badge)
    top = _plot_paragraph(sheet, HEAD_HEIGHT + 48, limits, 62, fontsize=9, color="#666666") + 10
    lines = caption_lines(measures, verdict)
    for number, line in enumerate(lines):
        if top > HEAD_HEIGHT + height - 70 and number < len(lines) - 1:
            sheet.text(TEXT_LEFT, top, f"and {len(lines) - number} more", fontsize=10, weight="bold", color=color)
            break
        if verdict is None or not verdict.reasons:
            sheet.text(TEXT_LEFT + 66, top, line.bold, fontsize=10, weight="bold", ha="right")
            sheet.text(TEXT_LEFT + 76, top, line.text, fontsize=10)
            top += 22
        else:
            sheet.text(TEXT_LEFT, top, line.bold, fontsize=10, weight="bold", color=color)
            top = _plot_paragraph(sheet, top + 17, line.text, 58, fontsize=9) + 6


def _plot_paragraph(sheet: _Sheet, top: float, text: str, width: int, **style: Any) -> float:
    """Plot wrapped text; returns the position below it."""
    for line in textwrap.wrap(text, width):
        sheet.text(TEXT_LEFT, top, line, **style)
        top += 15.5
    return top


def _plot_legend(sheet: _Sheet, top: float) -> None:
    """The legend in a strip between the frames and the timeline."""
    green = RESIDUAL_COLORS(0.0)
    handles = [
        Line2D([], [], color=green, marker="o", ms=4, lw=1.2, label="background point, tail: last 4 frames"),
        Line2D([], [], color=green, marker="s", ms=4, lw=1.2, label="point on an object"),
        Line2D([], [], color=BOX, lw=1.4, label="commanded box"),
        Line2D([], [], color=HIGHLIGHTED, lw=2.2, label="box of an annotated object"),
        Line2D([], [], color=LOST, marker="x", ms=5, ls="none", label="point lost in this frame"),
        Line2D([], [], color=WORST_COLOR, lw=3.5, label="worst frames of a measure"),
        Line2D([], [], color=COMMANDED, marker="+", ms=10, mew=2.5, ls="none", label="commanded heading"),
        Line2D([], [], color=OBSERVED, marker="x", ms=7, mew=2.5, ls="none", label="observed heading"),
    ]
    handles[6].set_path_effects([withStroke(linewidth=4.5, foreground="black")])
    band = sheet.axes(MARGIN, top, WIDTH - 2 * MARGIN, LEGEND_HEIGHT - GAP)
    band.set(facecolor="#e6e9ec", xticks=[], yticks=[])
    band.spines[:].set_visible(False)
    at = (330 / (WIDTH - 2 * MARGIN), 0.5)
    band.legend(handles=handles, loc="center left", bbox_to_anchor=at, ncols=4, fontsize=9, frameon=False)
    bar = sheet.axes(MARGIN + 16, top + 23, 290, 9)
    sheet.figure.colorbar(
        ScalarMappable(RESIDUAL_SCALE, RESIDUAL_COLORS), cax=bar, orientation="horizontal", extend="max"
    )
    bar.set_xticks([0, 0.5, 1, 1.5, 2])
    bar.tick_params(labelsize=8, length=2, pad=1.5)
    bar.set_title("residual to the command, px of 256 rows (gray: none)", fontsize=8.5, loc="left", pad=3)


def _plot_label(sheet: _Sheet, top: float, title: str, explanation: str) -> None:
    sheet.text(MARGIN, top + 4, title, fontsize=10.5, weight="bold")
    for number, line in enumerate(textwrap.wrap(explanation, 34)):
        sheet.text(MARGIN, top + 24 + 15 * number, line, fontsize=8.5, color="#666666")
