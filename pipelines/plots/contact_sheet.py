"""A contact sheet: one row per clip with some of its frames side by side and a caption."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.files.atomic import write_atomic

_CAPTION_PX = 22
_GAP_PX = 4
_BACKGROUND = (250, 250, 250)
_TEXT_COLORS = {"": (60, 60, 60), "accepted": (30, 120, 50), "rejected": (190, 40, 40), "unmeasured": (150, 110, 20)}


@dataclass(frozen=True, kw_only=True, slots=True)
class SheetRow:
    """``frames`` is ``(T, H, W, 3)`` uint8; ``state`` determines the color of the caption."""

    caption: str
    frames: NDArray[np.uint8]
    state: str = ""


def render_contact_sheet(
    rows: Sequence[SheetRow], num_frames: int = 5, scale: int = 2, columns: int = 1
) -> NDArray[np.uint8]:
    """The sheet ``(H, W, 3)`` uint8 with ``num_frames`` evenly spaced frames per row; rows are in ``columns``."""
    rendered = [_render_row(row, num_frames, scale) for row in rows]
    height, width = (max(row.shape[axis] for row in rendered) for axis in (0, 1))
    num_lines = math.ceil(len(rendered) / columns)
    sheet = np.full((num_lines * height, columns * (width + 2 * _GAP_PX) - 2 * _GAP_PX, 3), _BACKGROUND, np.uint8)
    for number, row in enumerate(rendered):
        top, left = number // columns * height, number % columns * (width + 2 * _GAP_PX)
        sheet[top : top + row.shape[0], left : left + row.shape[1]] = row
    return sheet


def write_png(path: Path, image: NDArray[np.uint8]) -> None:
    ok, encoded = cv2.imencode(".png", image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    assert ok, "OpenCV encodes any uint8 image"
    write_atomic(path, encoded.tobytes())


def _render_row(row: SheetRow, num_frames: int, scale: int) -> NDArray[np.uint8]:
    chosen = np.linspace(0, len(row.frames) - 1, num_frames).round().astype(int)
    height, width = row.frames.shape[1] * scale, row.frames.shape[2] * scale
    canvas = np.full(
        (height + _CAPTION_PX + _GAP_PX, num_frames * (width + _GAP_PX) - _GAP_PX, 3), _BACKGROUND, np.uint8
    )
    for place, number in enumerate(chosen):
        left = place * (width + _GAP_PX)
        image = cv2.resize(row.frames[number], (width, height), interpolation=cv2.INTER_CUBIC)
        canvas[:height, left : left + width] = image
    origin = (2, height + _CAPTION_PX - 7)
    cv2.putText(canvas, row.caption, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.45, _TEXT_COLORS[row.state], 1, cv2.LINE_AA)
    return canvas
