"""The pictures of ``docs/measures.md``: ``python -m tests.benchmarks.measure_pictures docs/measures``.

One picture per family, one measure per row: three frames of a good clip on the left, and of a clip with a corruption
that raises the measure on the right. Tracks are green if they agree with the command and red if they do not; boxes are
white, and that of the measured object is yellow. Measures of objects show the surroundings of their object.
"""

import argparse
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from driveforge.datasets.files.atomic import write_atomic
from driveforge.datasets.geometry import Array
from driveforge.datasets.scene import Clip
from driveforge.pipelines.plots.frame_panel import RESIDUAL_COLORS, RESIDUAL_SCALE
from driveforge.pipelines.studies.validator.clips import GoodClip, make_clip
from driveforge.pipelines.studies.validator.study import FRONT
from driveforge.validation.artifact_weights import ARTIFACT_WEIGHTS
from driveforge.validation.catalog import get_definition
from driveforge.validation.corruptions.catalog import CORRUPTIONS, corrupt
from driveforge.validation.instruments import Instruments
from driveforge.validation.measures import MeasuredClip, measure_clip
from driveforge.validation.records import Measure
from driveforge.validation.review.timeline import object_trails_at, trails_at
from driveforge.validation.views.boxes import Boxes, project_boxes
from driveforge.validation.views.view import list_views

SEED = 7
GOOD = {
    name: GoodClip(number=number, rows=256, seed=SEED)
    for name, number in {"a": 0, "b": 1, "c": 2, "stationary": 9}.items()
} | {"three cameras": GoodClip(number=0, rows=128, seed=SEED, cameras=FRONT)}


@dataclass(frozen=True, slots=True)
class Row:
    """A measure and the strong corruption that is shown for it, of one of the good clips."""

    measure: str
    corruption: str
    clip: str = "a"
    seed: int = 0


PICTURES: dict[str, tuple[Row, ...]] = {
    "tracks": (
        Row("track_epipolar", "yaw-rate"),
        Row("track_epipolar_adjacent", "pose-jitter"),
        Row("track_reprojection", "shuffle"),
        Row("track_rigidity", "rolling-warp"),
        Row("track_cheirality", "reverse"),
        Row("track_stationary", "cut", clip="stationary"),
    ),
    "pose": (
        Row("pose_yaw", "yaw-rate"),
        Row("pose_rotation", "pose-jitter"),
        Row("pose_translation", "lateral-drift", clip="b"),
        Row("pose_scale_road", "speed"),
        Row("pose_scale_boxes", "speed"),
    ),
    "objects": (
        Row("object_residual", "object-drift", clip="b"),
        Row("object_jump", "object-teleport", clip="b"),
        Row("object_scale", "object-growth", clip="b", seed=1),
        Row("object_unsupported", "vanish", clip="c", seed=1),
        Row("object_departure", "vanish"),
        Row("object_replaced", "identity-swap", clip="b"),
    ),
    "time": (
        Row("time_still", "freeze", clip="b"),
        Row("time_duplicate", "stutter"),
        Row("time_cut", "cut"),
        Row("time_acceleration", "swap", clip="b"),
        Row("time_flicker_global", "flicker", clip="b"),
        Row("time_boil", "boil", clip="b"),
    ),
    "appearance": (
        Row("object_grid", "mosaic", clip="b"),
        Row("object_texture", "repaint", clip="c", seed=1),
        Row("object_detail_loss", "melt", clip="b"),
        Row("detail_loss", "detail-decay"),
        Row("detail_loss_region", "road-blocks"),
    ),
    "learned": (Row("object_artifacts", "melt", clip="b"),),
    "cameras": (
        Row("camera_unmatched", "camera-async", clip="three cameras"),
        Row("camera_chance", "camera-pitch", clip="three cameras"),
        Row("camera_depth", "camera-yaw", clip="three cameras"),
    ),
}
# Frames from the first to the last one shown, unless the measure concerns more.
SPREAD = {"tracks": 4, "pose": 4, "objects": 4, "time": 2, "appearance": 6, "learned": 6}

TILE = (224, 128)  # width, height px
NUM_TILES, SUPERSAMPLING = 3, 2  # overlays are drawn on enlarged tiles
GAP, SIDE_GAP, MARGIN = 4, 22, 14
TITLE_HEIGHT, VALUE_HEIGHT, ROW_GAP, RANGE_LEFT = 22, 18, 12, 400
DPI, NUM_COLORS = 100, 128
CLOSE_UP = 1.7  # times the box
MIN_CLOSE_UP = 0.3  # of the image's width
LABEL_SCALE, LABEL_HEIGHT, SUBPIXEL_BITS = 0.36, 15, 4
BOX, MEASURED_BOX = (255, 255, 255), (255, 221, 51)
GOOD_COLOR, BAD_COLOR, TEXT_COLOR, FAINT_COLOR = "#1d7a3e", "#c21d2c", "#202428", "#6a7178"

Pixels = NDArray[np.uint8]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    for family, rows in PICTURES.items():
        write_atomic(out / f"{family}.png", to_png(draw_picture(rows)))


@cache
def good_clip(name: str) -> Clip:
    return make_clip(GOOD[name])


@cache
def measured(name: str, corruption: str = "", seed: int = 0) -> tuple[Clip, MeasuredClip]:
    """A good clip, corrupted strongly if a ``corruption`` is given, and its measures."""
    clip = good_clip(name)
    if corruption:
        other = good_clip("b" if name == "a" else "a")
        clip = corrupt(clip, corruption, CORRUPTIONS[corruption].strong, seed=seed, other=other)
    return clip, measure_clip(clip, Instruments(artifact_weights=ARTIFACT_WEIGHTS))


def in_words(measure: str, value: float | None) -> str:
    return "no value" if value is None else f"{value:.2g} {get_definition(measure).unit.symbol}"


def good_range(measure: str, clip: str) -> str:
    """The largest value of a measure among the good clips of one size, in words; "" if only one has a value."""
    names = [name for name, good in GOOD.items() if good.rows == GOOD[clip].rows]
    values = [value for name in names if (value := measured(name)[1].measures[measure].value) is not None]
    return f"good clips: up to {in_words(measure, max(values))}" if len(values) > 1 else ""


def draw_picture(rows: Sequence[Row]) -> Figure:
    side_width = NUM_TILES * (TILE[0] + GAP) - GAP
    row_height = TITLE_HEIGHT + VALUE_HEIGHT + TILE[1] + ROW_GAP
    width, height = 2 * MARGIN + 2 * side_width + SIDE_GAP, 2 * MARGIN + len(rows) * row_height - ROW_GAP
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    for number, row in enumerate(rows):
        top = MARGIN + number * row_height
        definition, bad = (
            get_definition(row.measure),
            measured(row.clip, row.corruption, row.seed)[1].measures[row.measure],
        )
        _write(figure, MARGIN, top, row.measure, weight="bold", fontsize=10.5)
        _write(figure, MARGIN + side_width + SIDE_GAP, top, definition.description, color=FAINT_COLOR)
        for side, corruption in enumerate(("", row.corruption)):
            left = MARGIN + side * (side_width + SIDE_GAP)
            _write_value(figure, left, top + TITLE_HEIGHT, row, corruption)
            for column, tile in enumerate(draw_tiles(row, corruption, bad)):
                x, y = left + column * (TILE[0] + GAP), top + TITLE_HEIGHT + VALUE_HEIGHT
                figure.figimage(tile, x, height - y - TILE[1], origin="upper")
    return figure


def _write_value(figure: Figure, left: int, top: int, row: Row, corruption: str) -> None:
    value = measured(row.clip, corruption, row.seed if corruption else 0)[1].measures[row.measure].value
    about, color = "good clip", GOOD_COLOR
    if corruption:
        about, color = f"{corruption}, {CORRUPTIONS[corruption].strong:g} {CORRUPTIONS[corruption].unit}", BAD_COLOR
        _write(figure, left + RANGE_LEFT, top, good_range(row.measure, row.clip), color=GOOD_COLOR)
    _write(figure, left, top, f"{about}: {in_words(row.measure, value)}", color=color, weight="bold")


def _write(figure: Figure, x: int, y: int, text: str, color: str = TEXT_COLOR, **style: object) -> None:
    width, height = figure.get_size_inches() * DPI
    style = {"fontsize": 9.5, **style}
    figure.text(x / width, 1 - y / height, text, color=color, va="top", **style)


def draw_tiles(row: Row, corruption: str, bad: Measure) -> list[Pixels]:
    """Three frames, or one frame of three cameras, at the times of the corrupted clip's measure ``bad``."""
    clip, seen = measured(row.clip, corruption, row.seed if corruption else 0)
    if bad.family == "cameras":
        return _draw_cameras(clip, bad.frames[0])
    numbers = shown_frames(bad, SPREAD[bad.family], seen.view.num_frames)
    ids = [track.id for track in seen.view.tracks]
    measured_box = ids.index(bad.track) if bad.track in ids else None
    region = close_up(seen.boxes, measured_box, numbers, seen.view.frames.shape[2:0:-1])
    tiles = []
    for frame in numbers:
        tile = cut_tile(seen.view.frames[frame], region)
        if measured_box is not None or bad.family == "pose":
            draw_boxes(tile, seen.boxes, frame, measured_box)
        if bad.family in ("tracks", "pose", "objects"):
            draw_trails(tile, seen, frame, of_objects=bad.family == "objects")
        tiles.append(finish_tile(tile, f"frame {frame}"))
    return tiles


def _draw_cameras(clip: Clip, frame: int) -> list[Pixels]:
    tiles = []
    for view in list_views(clip):
        tile = cut_tile(view.frames[frame])
        draw_boxes(tile, project_boxes(view), frame)
        tiles.append(finish_tile(tile, view.camera))
    return tiles


def shown_frames(bad: Measure, spread: int, num_frames: int) -> list[int]:
    first, last = (min(bad.frames), max(bad.frames)) if bad.frames else (0, num_frames - 1)
    first = max(min(first, last - spread), 0)
    last = max(last, first + NUM_TILES - 1)
    return [round(t) for t in np.linspace(first, last, NUM_TILES)]


def close_up(boxes: Boxes | None, index: int | None, frames: Sequence[int], size: Sequence[int]) -> Array | None:
    """The region x0, y0, x1, y1 px around a box in all ``frames``, with the aspect ratio of a tile; None if large."""
    hulls = [boxes.hulls[t][index] for t in frames] if boxes and index is not None else []
    points = [hull[:, 0] for hull in hulls if hull is not None]
    if not points:
        return None
    sides = np.array(size, float)
    low, high = np.clip([np.min([p.min(0) for p in points], 0), np.max([p.max(0) for p in points], 0)], 0, sides - 1)
    share = max(CLOSE_UP * float(((high - low) / sides).max()), MIN_CLOSE_UP)
    if share >= 1:
        return None
    corner = np.clip((low + high - share * sides) / 2, 0, (1 - share) * sides)
    return np.concatenate([corner, corner + share * sides])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Tile:
    """An enlarged part of an image, on which overlays are drawn; ``region`` is x0, y0, x1, y1 px of the image."""

    pixels: Pixels
    region: Array

    def place(self, points: Array) -> NDArray[np.int32]:
        """Image points ``(..., 2)`` px on the tile, in OpenCV's fixed-point units."""
        scale = self.pixels.shape[1] / (self.region[2] - self.region[0])
        places = ((points + 0.5 - self.region[:2]) * scale - 0.5) * (1 << SUBPIXEL_BITS)
        return np.round(places).astype(np.int32, order="C")


def cut_tile(image: Pixels, region: Array | None = None) -> Tile:
    if region is None:
        region = np.array([0.0, 0.0, image.shape[1], image.shape[0]])
    size = (TILE[0] * SUPERSAMPLING, TILE[1] * SUPERSAMPLING)
    scale = size[0] / (region[2] - region[0])
    offset = (0.5 - region[:2]) * scale - 0.5
    to_tile = np.array([[scale, 0.0, offset[0]], [0.0, scale, offset[1]]])
    pixels = cv2.warpAffine(image, to_tile, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return Tile(pixels=np.asarray(pixels, np.uint8), region=region)


def draw_boxes(tile: Tile, boxes: Boxes | None, frame: int, measured_box: int | None = None) -> None:
    for number, hull in enumerate(boxes.hulls[frame] if boxes else ()):
        if hull is not None and (measured_box is None or number == measured_box):
            color, width = (BOX, 2) if number != measured_box else (MEASURED_BOX, 3)
            cv2.polylines(tile.pixels, [tile.place(hull.astype(float))], True, color, width, cv2.LINE_AA, SUBPIXEL_BITS)


def draw_trails(tile: Tile, seen: MeasuredClip, frame: int, *, of_objects: bool) -> None:
    view, tracks = seen.view, seen.tracks
    trails = object_trails_at(view, tracks, frame) if of_objects else trails_at(tracks, view.command, frame)
    colors = (255 * RESIDUAL_COLORS(RESIDUAL_SCALE(trails.residual))[:, :3]).astype(int)
    places = tile.place(trails.points.transpose(1, 0, 2))
    for number in np.argsort(trails.residual):
        color, head = colors[number].tolist(), places[number, -1].tolist()
        cv2.polylines(tile.pixels, [places[number]], False, color, 2, cv2.LINE_AA, SUBPIXEL_BITS)
        cv2.circle(tile.pixels, head, 4 << SUBPIXEL_BITS, color, -1, cv2.LINE_AA, SUBPIXEL_BITS)


def finish_tile(tile: Tile, label: str) -> Pixels:
    """The tile in its final size, with a label in its corner."""
    image = np.asarray(cv2.resize(tile.pixels, TILE, interpolation=cv2.INTER_AREA), np.uint8)
    width = cv2.getTextSize(label, cv2.FONT_HERSHEY_SIMPLEX, LABEL_SCALE, 1)[0][0]
    image[:LABEL_HEIGHT, : width + 7] //= 4
    cv2.putText(image, label, (3, 11), cv2.FONT_HERSHEY_SIMPLEX, LABEL_SCALE, (255, 255, 255), 1, cv2.LINE_AA)
    return image


def to_png(figure: Figure) -> bytes:
    """The figure in a palette without dithering, which takes a quarter of the bytes of full color."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3]))
    buffer = io.BytesIO()
    picture.quantize(NUM_COLORS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
