"""H.264 in MP4: the one video format that clips are stored in and read from."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

from datasets.errors import UserError
from datasets.geometry import Array

KEYFRAME_INTERVAL = 12
# BT.601, limited range, and tagged so: readers that ignore tags (OpenCV among them) assume it, the others obey them.
_COLORSPACE = Colorspace.ITU601
_COLORSPACE_TAG = 6
_COLOR_RANGE = ColorRange.MPEG


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class VideoInfo:
    """What a video's packets say without decoding: its size in pixels and when each frame is shown."""

    path: Path
    width: int
    height: int
    pts: NDArray[np.int64] = field(repr=False)
    time_base: Fraction

    @property
    def timestamps(self) -> Array:
        """Seconds ``(T,)`` from the first frame."""
        return np.asarray((self.pts - self.pts[0]) * float(self.time_base))


def encode_mp4(frames: NDArray[np.uint8], frame_rate: float, *, crf: int = 18) -> bytes:
    """``frames`` ``(T, H, W, 3)`` uint8 RGB as an H.264 MP4 of constant rate.

    yuv420p, no B-frames, a key frame at least every 12; one thread and no build stamps, so the same frames give the
    same bytes. A UserError for odd sizes (yuv420p has none), no frames, or a rate that is not positive.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or len(frames) == 0:
        raise UserError(f"video frames must be uint8 (T, H, W, 3) with T > 0, got {frames.dtype} {frames.shape}")
    height, width = frames.shape[1:3]
    if height % 2 or width % 2:
        raise UserError(f"video size {width}x{height} is odd: H.264 in yuv420p needs an even width and height")
    if not (np.isfinite(frame_rate) and frame_rate > 0):
        raise UserError(f"video frame rate must be positive, got {frame_rate}")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(frame_rate).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": str(crf), "g": str(KEYFRAME_INTERVAL), "bf": "0", "threads": "1", "flags": "+bitexact"}
        stream.codec_context.colorspace, stream.codec_context.color_range = _COLORSPACE_TAG, _COLOR_RANGE
        for index, image in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24").reformat(
                format="yuv420p", dst_colorspace=_COLORSPACE, dst_color_range=_COLOR_RANGE
            )
            picture.pts = index
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return buffer.getvalue()


def decode_mp4(video: bytes | Path, name: str = "") -> tuple[NDArray[np.uint8], Array]:
    """All frames ``(T, H, W, 3)`` uint8 RGB and their times ``(T,)`` in seconds from the first.

    A UserError naming the video (``name``, or its path) where it is missing, cut short or damaged.
    """
    name = name or (str(video) if isinstance(video, Path) else "video")
    images, pts = [], []
    with _opened(video, name) as (container, stream):
        for frame in container.decode(stream):
            images.append(_image(frame, name))
            pts.append(frame.pts)
        time_base = float(stream.time_base)
    if not images:
        raise UserError(f"{name}: holds no video frames")
    return np.stack(images), np.asarray((np.array(pts) - pts[0]) * time_base)


def probe(path: Path) -> VideoInfo:
    """Size and frame times of ``path``, without decoding; a UserError where it is missing, cut short or no video."""
    with _opened(path, str(path)) as (container, stream):
        shown = [packet for packet in container.demux(stream) if packet.size and not packet.is_discard]
        if any(packet.pts is None for packet in shown) or not shown:
            raise UserError(f"{path}: holds no video frames with presentation times")
        pts = np.sort(np.array([packet.pts for packet in shown], np.int64))
        codec = stream.codec_context
        return VideoInfo(path=path, width=codec.width, height=codec.height, pts=pts, time_base=stream.time_base)


def read_frames(video: VideoInfo, indices: Sequence[int] | NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
    """The frames ``(H, W, 3)`` at rising ``indices``, one at a time, decoded from the key frame before the first on."""
    wanted = [int(video.pts[index]) for index in indices]
    name = str(video.path)
    with _opened(video.path, name) as (container, stream):
        for frame in _decode_from(container, stream, wanted[0]):
            if wanted and frame.pts == wanted[0]:
                yield _image(frame, name)
                wanted.pop(0)
            if not wanted:
                return
    raise UserError(f"{name}: the frame at {float(wanted[0] * video.time_base):.3f} s cannot be decoded")


def _decode_from(container: Any, stream: Any, pts: int) -> Iterator[Any]:
    """Decoded frames from a key frame at or before ``pts`` on."""
    container.seek(pts, stream=stream)
    frames = container.decode(stream)
    first = next(frames, None)
    if first is None or first.pts > pts:
        # Where B-frames lead a key frame, seeking by decoding time can land behind them: begin at the beginning.
        container.seek(0)
        yield from container.decode(stream)
    else:
        yield first
        yield from frames


@contextmanager
def _opened(video: bytes | Path, name: str) -> Iterator[tuple[Any, Any]]:
    """An open container and its first video stream; every way a file can be bad becomes a UserError naming it."""
    if isinstance(video, Path) and video.exists() and not video.is_file():
        raise UserError(f"{name}: is no file, though named like a video")
    try:
        with (
            io.BytesIO(video) if isinstance(video, bytes) else open(video, "rb") as file,
            av.open(file, metadata_errors="replace") as container,
        ):
            missing = _missing_bytes(file) if "mp4" in container.format.name else 0
            if missing:
                raise UserError(f"{name}: the video is cut short, {missing} bytes are missing at its end")
            if not container.streams.video:
                raise UserError(f"{name}: holds no video stream")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise UserError(f"{name}: is of a codec that cannot be read here; make it H.264")
            stream.codec_context.thread_count = 1
            stream.codec_context.options = {"err_detect": "explode"}
            yield container, stream
    except FileNotFoundError as error:
        raise UserError(f"{name}: there is no such video") from error
    except (av.FFmpegError, OSError) as error:
        raise UserError(f"{name}: cannot be read as video, it is damaged or cut short ({error.strerror})") from error


def _missing_bytes(file: IO[bytes]) -> int:
    """How many bytes the top-level MP4 boxes promise beyond the end of ``file``, whose position is kept."""
    position = file.tell()
    end, total = 0, file.seek(0, io.SEEK_END)
    file.seek(0)
    while len(header := file.read(16)) >= 8:
        size = int.from_bytes(header[:4], "big")
        size = int.from_bytes(header[8:16], "big") if size == 1 else size
        if size < 8:
            break
        end += size
        file.seek(end)
    file.seek(position)
    return max(0, end - total)


def _image(frame: Any, name: str) -> NDArray[np.uint8]:
    if frame.is_corrupt or frame.pts is None:
        raise UserError(f"{name}: a damaged frame; make the video again")
    return np.asarray(frame.to_ndarray(format="rgb24"))
