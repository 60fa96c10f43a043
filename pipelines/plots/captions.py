"""What a picture of a measured clip says in words: what the clip is, and what its measures or its verdict tell."""

from dataclasses import dataclass

import numpy as np

from driveforge.validation.calibration import Calibration
from driveforge.validation.measures import Measures
from driveforge.validation.records import Measure
from driveforge.validation.review.drawing import short_id
from driveforge.validation.review.timeline import Timeline
from driveforge.validation.verdict import Verdict
from driveforge.validation.views.view import View

VERDICT_COLORS = {"accepted": "#1d7a3e", "rejected": "#c21d2c", "unmeasured": "#a8690c"}

# The measures that tell most, in words that accuse nobody: without limits no value is good or bad.
HEADLINES = {
    "track_epipolar_worst": "background off the command, worst stretch",
    "track_stationary": "background motion while told to stand",
    "track_rigidity": "background that no camera motion explains",
    "pose_yaw": "turn rate off the command",
    "pose_rotation": "rotation off the command",
    "pose_translation": "heading off the command",
    "pose_scale_road": "speed over the road off the command",
    "pose_scale_boxes": "speed past parked boxes off the command",
    "object_jump": "object beside its box, in sizes of the box",
    "object_drift": "object drifts from its box",
    "object_unsupported": "points in a box that do not move with it",
    "object_blockiness": "steps on the grid of blocks, times the others",
    "object_departure": "points that leave a box in one step",
    "person_jump": "person beside its box, in sizes of the box",
    "person_unsupported": "points in a person's box not moving with it",
    "time_still": "points that stand still though told to move",
    "time_duplicate": "least change in a step (100 %: a repeat)",
    "time_cut": "largest change in a step, times the usual",
    "time_track_loss": "points lost in one step",
    "camera_unmatched": "what two cameras see does not match",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionLine:
    """A line of the list: ``text``, and what stands before them in bold."""

    bold: str
    text: str


def subtitle(view: View, timeline: Timeline, num_cameras: int) -> str:
    """Camera, size, length, rate, and the motion that was commanded."""
    rows, columns = view.gray.shape[1:]
    rate = 1 / float(np.median(np.diff(view.timestamps))) if view.num_frames > 1 else 0.0
    camera_note = f" (first of {num_cameras} cameras)" if num_cameras > 1 else ""
    parts = [f"{view.camera}{camera_note}", f"{columns} x {rows} px", f"{view.num_frames} frames at {rate:.3g} Hz"]
    if view.command is None:
        return "   ·   ".join([*parts, f"no commanded motion ({view.reason})"])
    return "   ·   ".join(
        [
            *parts,
            f"commanded: {_format_speed(timeline)}, {_format_turn_rate(timeline)}",
            _format_num_objects(len(view.tracks)),
        ]
    )


def _format_speed(timeline: Timeline) -> str:
    known = timeline.speed[np.isfinite(timeline.speed)]
    speed = float(np.median(known)) if len(known) else 0.0
    return f"{speed:.1f} m/s ({3.6 * speed:.0f} km/h)" if speed > 0.05 else "standing"


def _format_turn_rate(timeline: Timeline) -> str:
    known = timeline.yaw_commanded[np.isfinite(timeline.yaw_commanded)]
    rate = float(np.median(known)) if len(known) else 0.0
    return f"turning {abs(rate):.1f} °/s {'left' if rate > 0 else 'right'}" if abs(rate) >= 0.05 else "straight on"


def _format_num_objects(count: int) -> str:
    return "no objects" if count == 0 else f"{count} object{'s' if count > 1 else ''}"


def caption_lines(measures: Measures, verdict: Verdict | None) -> list[CaptionLine]:
    """The reasons of a verdict, one a code and object; without one, or without reasons, the most telling measures."""
    if verdict is None or not verdict.reasons:
        measured = {m.name: m for m in measures.values if m.value is not None}
        lines = [
            CaptionLine(bold=_format_value(measured[name]), text=text)
            for name, text in HEADLINES.items()
            if name in measured
        ]
        return lines or [CaptionLine(bold="nothing", text=f"could be measured: {measures.values[0].reason}")]
    most_severe = {(reason.code, reason.track): reason for reason in reversed(verdict.reasons)}
    shown = [reason for reason in verdict.reasons if most_severe[reason.code, reason.track] is reason]
    return [CaptionLine(bold=_format_code(r.code), text=r.text.replace(r.track, short_id(r.track))) for r in shown]


def verdict_heading(verdict: Verdict | None, calibration: Calibration | None) -> tuple[str, str]:
    """The verdict in a word, and under which limits."""
    if verdict is None or calibration is None:
        return "NOT JUDGED", "No limits were given, so these are values, not failures."
    note = f" {calibration.note}" if calibration.note else ""
    return verdict.state.upper(), f"Limits: {calibration.name}.{note}"


def _format_value(measure: Measure) -> str:
    value = measure.value or 0.0
    if measure.unit == "log scale":
        return f"{100 * np.expm1(value):.0f} %"
    if measure.unit == "share":
        return f"{100 * value:.0f} %"
    unit = {"ratio": "times", "size": "", "deg": "°", "deg/s": "°/s"}.get(measure.unit, measure.unit)
    digits = 2 if value < 1 else 1 if value < 10 else 0
    return f"{value:.{digits}f} {unit}".rstrip()


def _format_code(code: str) -> str:
    return code.replace("_", " ").capitalize()
