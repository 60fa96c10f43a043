"""A contact sheet: one row a clip, some of its frames side by side, a caption under each row."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.files.atomic import write_atomic

_BAND = 22
_GAP = 4
_PAPER = (250, 250, 250)
_INK = {"": (60, 60, 60), "accepted": (30, 120, 50), "rejected": (190, 40, 40), "unmeasured": (150, 110, 20)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """``frames`` is ``(T, H, W, 3)`` uint8; ``state`` chooses the colour of the caption."""

    caption: str
    frames: NDArray[np.uint8]
    state: str = ""


def contact_sheet(rows: Sequence[Row], num_frames: int = 5, scale: int = 2, columns: int = 1) -> NDArray[np.uint8]:
    """The sheet ``(H, W, 3)`` uint8, with ``num_frames`` evenly spaced frames a row, in ``columns`` columns of rows."""
    drawn = [_draw(row, num_frames, scale) for row in rows]
    height, width = (max(d.shape[k] for d in drawn) for k in (0, 1))
    lines = -(-len(drawn) // columns)
    sheet = np.full((lines * height, columns * (width + 2 * _GAP) - 2 * _GAP, 3), _PAPER, np.uint8)
    for number, row in enumerate(drawn):
        top, left = number // columns * height, number % columns * (width + 2 * _GAP)
        sheet[top : top + row.shape[0], left : left + row.shape[1]] = row
    return sheet


def write_png(path: Path, image: NDArray[np.uint8]) -> None:
    ok, encoded = cv2.imencode(".png", image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    assert ok, "OpenCV encodes any uint8 image"
    write_atomic(path, encoded.tobytes())


def _draw(row: Row, num_frames: int, scale: int) -> NDArray[np.uint8]:
    chosen = np.linspace(0, len(row.frames) - 1, num_frames).round().astype(int)
    height, width = row.frames.shape[1] * scale, row.frames.shape[2] * scale
    out = np.full((height + _BAND + _GAP, num_frames * (width + _GAP) - _GAP, 3), _PAPER, np.uint8)
    for place, number in enumerate(chosen):
        left = place * (width + _GAP)
        image = cv2.resize(row.frames[number], (width, height), interpolation=cv2.INTER_CUBIC)
        out[:height, left : left + width] = image
    origin = (2, height + _BAND - 7)
    cv2.putText(out, row.caption, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.45, _INK[row.state], 1, cv2.LINE_AA)
    return out
