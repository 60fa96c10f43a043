"""Encoding and decoding of H.264 in MP4, the video format of clips."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import av
import cv2
import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.stream import Disposition
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

from driveforge.datasets.checked_arrays import MAX_SIDE_PX
from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.geometry import Array

KEYFRAME_INTERVAL = 12
# With libx264's macroblock tree, the bytes depend on what the process encoded before.
_DETERMINISTIC_OPTIONS = {"flags": "+bitexact", "x264-params": "mbtree=0"}
# BT.601 limited range, with tags: readers that ignore the tags (such as OpenCV) assume it, the others follow them.
_COLORSPACE = Colorspace.ITU601
_COLORSPACE_TAG = 6
_COLOR_RANGE = ColorRange.MPEG


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class VideoInfo:
    """Metadata of a video: display size in pixels, and presentation times of its frames in units of ``time_base`` s."""

    path: Path
    width: int
    height: int
    pts: NDArray[np.int64] = field(repr=False)
    time_base: Fraction

    @property
    def timestamps(self) -> Array:
        """Seconds ``(T,)`` since the first frame."""
        return np.asarray((self.pts - self.pts[0]) * float(self.time_base))


def encode_mp4(frames: NDArray[np.uint8], frame_rate: float, *, crf: int = 18) -> bytes:
    """Encode ``frames`` ``(T, H, W, 3)`` uint8 RGB as an H.264 MP4 with ``frame_rate`` Hz.

    yuv420p, no B-frames, a key frame at least every 12 frames; one thread and no build stamps, so the same frames give
    the same bytes. Raises UserError for an odd width or height, no frames, or a frame rate that is not positive.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or len(frames) == 0:
        raise UserError(f"video frames must be uint8 (T, H, W, 3) with T > 0, got {frames.dtype} {frames.shape}")
    height, width = frames.shape[1:3]
    if height % 2 or width % 2:
        raise UserError(f"video size {width}x{height} is odd: H.264 with yuv420p needs an even width and height")
    if not (np.isfinite(frame_rate) and frame_rate > 0):
        raise UserError(f"video frame rate must be positive, got {frame_rate}")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(frame_rate).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {
            "crf": str(crf),
            "g": str(KEYFRAME_INTERVAL),
            "bf": "0",
            "threads": "1",
            **_DETERMINISTIC_OPTIONS,
        }
        stream.codec_context.colorspace, stream.codec_context.color_range = _COLORSPACE_TAG, _COLOR_RANGE
        for index, image in enumerate(frames):
            video_frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24").reformat(
                format="yuv420p", dst_colorspace=_COLORSPACE, dst_color_range=_COLOR_RANGE
            )
            video_frame.pts = index
            container.mux(stream.encode(video_frame))
        container.mux(stream.encode())
    return buffer.getvalue()


def decode_mp4(video: bytes | Path, name: str = "") -> tuple[NDArray[np.uint8], Array]:
    """All frames ``(T, H, W, 3)`` uint8 RGB and their times ``(T,)`` in seconds since the first.

    Frames are as players show them: rotated or mirrored by the display matrix, with square pixels. Raises UserError
    naming the video (``name``, or its path) if it is missing, truncated or damaged.
    """
    name = name or (str(video) if isinstance(video, Path) else "video")
    images: list[NDArray[np.uint8]] = []
    pts = []
    with _open_video(video, name) as (container, stream):
        for frame in container.decode(stream):
            image = _to_rgb(frame, stream, name)
            images.append(_check_size(image, images[0].shape if images else image.shape, name))
            pts.append(frame.pts)
        time_base = float(stream.time_base)
    if not images:
        raise UserError(f"{name}: holds no video frames")
    return np.stack(images), np.asarray((np.array(pts) - pts[0]) * time_base)


def read_video_info(path: Path) -> VideoInfo:
    """Size and frame times of the video ``path``; raises UserError if it is missing, truncated or not a video."""
    with _open_video(path, str(path)) as (container, stream):
        packets = [packet for packet in container.demux(stream) if packet.size and not packet.is_discard]
        if any(packet.pts is None for packet in packets) or not packets:
            raise UserError(f"{path}: holds no video frames with presentation times")
        pts = np.sort(np.array([packet.pts for packet in packets], np.int64))
        container.seek(0)
        first = next(container.decode(stream), None)
        if first is None:
            raise UserError(f"{path}: its first frame cannot be decoded")
        height, width = _to_rgb(first, stream, str(path)).shape[:2]
        return VideoInfo(path=path, width=width, height=height, pts=pts, time_base=stream.time_base)


def read_frames(video: VideoInfo, indices: Sequence[int] | NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
    """Yield the frames ``(H, W, 3)`` at increasing ``indices``, decoded from the key frame before the first one."""
    pending = [int(video.pts[index]) for index in indices]
    name = str(video.path)
    with _open_video(video.path, name) as (container, stream):
        for frame in _decode_from(container, stream, pending[0]):
            if pending and frame.pts == pending[0]:
                yield _check_size(_to_rgb(frame, stream, name), (video.height, video.width, 3), name)
                pending.pop(0)
            if not pending:
                return
    raise UserError(f"{name}: the frame at {float(pending[0] * video.time_base):.3f} s cannot be decoded")


def _decode_from(container: Any, stream: Any, pts: int) -> Iterator[Any]:
    """Yield decoded frames, starting at a key frame at or before ``pts``."""
    container.seek(pts, stream=stream)
    frames = container.decode(stream)
    first = next(frames, None)
    if first is None or first.pts > pts:
        # With B-frames before a key frame, seeking by decoding time can land after them: start at the beginning.
        container.seek(0)
        yield from container.decode(stream)
    else:
        yield first
        yield from frames


@contextmanager
def _open_video(video: bytes | Path, name: str) -> Iterator[tuple[Any, Any]]:
    """Open a container and select its video stream; any error of the decoder becomes a UserError naming the file."""
    if isinstance(video, Path) and video.exists() and not video.is_file():
        raise UserError(f"{name}: is not a file, although it is named like a video")
    try:
        with (
            io.BytesIO(video) if isinstance(video, bytes) else open(video, "rb") as file,
            av.open(file, metadata_errors="replace") as container,
        ):
            missing = _missing_bytes(file) if "mp4" in container.format.name else 0
            if missing:
                raise UserError(f"{name}: the video is truncated, {missing} bytes are missing at its end")
            stream = _select_stream(container.streams.video)
            if stream is None:
                raise UserError(f"{name}: has no video stream")
            if stream.codec_context is None:
                raise UserError(f"{name}: its codec is not supported; convert it to H.264 (ffmpeg -i IN OUT.mp4)")
            stream.codec_context.thread_count = 1
            stream.codec_context.options = {"err_detect": "explode"}
            yield container, stream
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"{name}: no such video") from error
    except Exception as error:  # decoders raise exceptions of many types
        reason = shorten(getattr(error, "strerror", None) or error, 120)
        raise UserError(f"{name}: cannot be read as video, it is damaged or truncated ({reason})") from error


def _missing_bytes(file: IO[bytes]) -> int:
    """Number of bytes that the top-level MP4 boxes declare beyond the end of ``file``, whose position is restored."""
    position = file.tell()
    end, total = 0, file.seek(0, io.SEEK_END)
    file.seek(0)
    while len(header := file.read(16)) >= 8:
        size = int.from_bytes(header[:4], "big")
        size = int.from_bytes(header[8:16], "big") if size == 1 else size  # 1 announces a 64-bit size
        if size < 8:
            break
        end += size
        file.seek(end)
    file.seek(position)
    return max(0, end - total)


def _select_stream(streams: Sequence[Any]) -> Any | None:
    """The stream with the most frames, then with the largest image; covers and previews are also streams."""
    candidates = [stream for stream in streams if not stream.disposition & Disposition.attached_pic]
    sizes = {stream.index: stream.codec_context for stream in candidates}

    def extent(stream: Any) -> tuple[int, int]:
        codec = sizes[stream.index]
        return stream.frames, codec.width * codec.height if codec else 0

    return max(candidates, key=extent, default=None)


def _to_rgb(frame: Any, stream: Any, name: str) -> NDArray[np.uint8]:
    """The frame ``(H, W, 3)`` as it is displayed."""
    if frame.is_corrupt or frame.pts is None:
        raise UserError(f"{name}: a frame is damaged; encode the video again")
    image = np.asarray(frame.to_ndarray(format="rgb24"))
    aspect = float(stream.sample_aspect_ratio or 1)
    if aspect != 1:
        width = round(image.shape[1] * aspect)
        if not 1 <= width <= MAX_SIDE_PX:
            raise UserError(f"{name}: its pixel aspect ratio {aspect:g} is not plausible")
        image = np.asarray(cv2.resize(image, (width, image.shape[0]), interpolation=cv2.INTER_AREA), np.uint8)
    matrix = frame.side_data.get(SideData.DISPLAYMATRIX)
    return image if matrix is None else _apply_display_matrix(image, np.frombuffer(bytes(matrix), np.int32), name)


def _apply_display_matrix(image: NDArray[np.uint8], matrix: NDArray[np.int32], name: str) -> NDArray[np.uint8]:
    """``image`` under the display matrix of its stream, which maps pixel (x, y) to (a x + c y, b x + d y)."""
    a, b, c, d = (float(matrix[n]) for n in (0, 1, 3, 4))
    if max(abs(a), abs(b), abs(c), abs(d)) == 0:
        return image
    if max(abs(b), abs(c)) < 0.01 * min(abs(a), abs(d)):
        right, down = a, d
    elif max(abs(a), abs(d)) < 0.01 * min(abs(b), abs(c)):
        image, right, down = image.swapaxes(0, 1), c, b
    else:
        raise UserError(f"{name}: its rotation is not a multiple of 90 degrees; rotate it first (ffmpeg -i IN OUT.mp4)")
    return np.ascontiguousarray(image[:: 1 if down > 0 else -1, :: 1 if right > 0 else -1])


def _check_size(image: NDArray[np.uint8], shape: tuple[int, ...], name: str) -> NDArray[np.uint8]:
    if image.shape != shape:
        raise UserError(
            f"{name}: the size changes from {shape[1]}x{shape[0]} to {image.shape[1]}x{image.shape[0]}; "
            "cut the video there"
        )
    return image
