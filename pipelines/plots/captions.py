"""The texts in a picture of a measured clip: its description, and its measures or its verdict."""

from dataclasses import dataclass

import numpy as np

from driveforge.validation.calibration import Calibration
from driveforge.validation.catalog import DEFINITIONS
from driveforge.validation.records import Measures
from driveforge.validation.review.drawing import short_id
from driveforge.validation.review.timeline import Timeline
from driveforge.validation.verdict import Verdict
from driveforge.validation.views.view import View

VERDICT_COLORS = {"accepted": "#1d7a3e", "rejected": "#c21d2c", "unmeasured": "#a8690c"}


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionLine:
    """A line of the list: a value or a reason in ``bold``, and a ``text``."""

    bold: str
    text: str


def subtitle(view: View, timeline: Timeline, num_cameras: int) -> str:
    """Camera, size, length, rate, and the commanded motion."""
    rows, columns = view.gray.shape[1:]
    rate = 1 / float(np.median(np.diff(view.timestamps))) if view.num_frames > 1 else 0.0
    camera_note = f" (first of {num_cameras} cameras)" if num_cameras > 1 else ""
    parts = [f"{view.camera}{camera_note}", f"{columns} x {rows} px", f"{view.num_frames} frames at {rate:.3g} Hz"]
    if view.command is None:
        parts.append(f"no commanded motion ({view.reason})")
    else:
        parts.append(f"commanded: {_format_speed(timeline)}, {_format_turn_rate(timeline)}")
        parts.append(_format_num_objects(len(view.tracks)))
    return "   ·   ".join(parts)


def _format_speed(timeline: Timeline) -> str:
    known = timeline.speed[np.isfinite(timeline.speed)]
    speed = float(np.median(known)) if len(known) else 0.0
    return f"{speed:.1f} m/s ({3.6 * speed:.0f} km/h)" if speed > 0.05 else "stationary"


def _format_turn_rate(timeline: Timeline) -> str:
    known = timeline.yaw_commanded[np.isfinite(timeline.yaw_commanded)]
    rate = float(np.median(known)) if len(known) else 0.0
    if abs(rate) < 0.05:
        return "straight"
    return f"turning {abs(rate):.1f} °/s {'left' if rate > 0 else 'right'}"


def _format_num_objects(count: int) -> str:
    if count == 0:
        return "no objects"
    return "1 object" if count == 1 else f"{count} objects"


def caption_lines(measures: Measures, verdict: Verdict | None) -> list[CaptionLine]:
    """The reasons of a verdict, one per code and object; without reasons, the measures that have a caption."""
    if verdict is None or not verdict.reasons:
        values = {m.name: m.value for m in measures.values if m.value is not None}
        lines = [
            CaptionLine(bold=definition.unit.format_short(values[name]), text=definition.caption)
            for name, definition in DEFINITIONS.items()
            if definition.caption and name in values
        ]
        return lines or [CaptionLine(bold="nothing", text=f"could be measured: {measures.values[0].reason}")]
    most_severe = {(reason.code, reason.track): reason for reason in reversed(verdict.reasons)}
    shown = [reason for reason in verdict.reasons if most_severe[reason.code, reason.track] is reason]
    return [CaptionLine(bold=_format_code(r.code), text=r.text.replace(r.track, short_id(r.track))) for r in shown]


def verdict_heading(verdict: Verdict | None, calibration: Calibration | None) -> tuple[str, str]:
    """The heading of the verdict, and the limits that it is based on."""
    if verdict is None or calibration is None:
        return "NO LIMITS", "No calibration given: there is no verdict."
    note = f" {calibration.note}" if calibration.note else ""
    return verdict.state.upper(), f"Limits: {calibration.name}.{note}"


def _format_code(code: str) -> str:
    return code.replace("_", " ").capitalize()
