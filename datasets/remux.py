"""MP4 videos cut and joined without decoding: packets are copied, so every frame keeps its bits."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av

from driveforge.datasets.disclosure import is_marked, mark_generated
from driveforge.datasets.errors import UserError, shorten


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """The first ``num_frames`` frames of an MP4 ``video``; ``name`` names it in errors."""

    video: bytes = field(repr=False)
    num_frames: int
    name: str


def join_videos(parts: Sequence[Part], frame_rate: float) -> bytes:
    """One MP4 of all ``parts`` in order, whose frame n is shown at n / ``frame_rate`` s.

    It is marked as generated if a part is.
    Raises UserError if a video is damaged, has too few frames or frames out of order (B-frames), or if the decoder
    settings of the parts differ, as those of videos of other sizes do.
    """
    rate = Fraction(frame_rate).limit_denominator(1001)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4", options={"fflags": "+bitexact"}) as target:
        stream, number, settings, is_any_generated = None, 0, b"", False
        for part in parts:
            is_any_generated |= is_marked(part.video)
            with _open(part) as source:
                found = source.streams.video[0]
                if stream is None:
                    stream, settings = target.add_stream_from_template(found), _settings(found)
                    stream.time_base = 1 / rate / 1024
                if _settings(found) != settings:
                    raise UserError(f"{part.name}: its size or encoding differs from that of the videos before it")
                for packet in _packets(source, found, part):
                    packet.pts = packet.dts = number * 1024
                    packet.duration, packet.time_base, packet.stream = 1024, 1 / rate / 1024, stream
                    target.mux(packet)
                    number += 1
    video = buffer.getvalue()
    return mark_generated(video) if is_any_generated else video


def decoder_settings(video: bytes, name: str) -> bytes:
    """What a decoder must know before the first frame; only videos of equal settings can be joined."""
    with _open(Part(video=video, num_frames=0, name=name)) as source:
        return _settings(source.streams.video[0])


def _settings(stream: Any) -> bytes:
    codec = stream.codec_context
    return f"{codec.name} {codec.width}x{codec.height} ".encode() + bytes(codec.extradata or b"")


def _open(part: Part) -> Any:
    try:
        container = av.open(io.BytesIO(part.video))
        if container.streams.video:
            return container
        container.close()
    except (av.FFmpegError, ValueError) as error:
        raise UserError(f"{part.name}: cannot be read as video ({shorten(error, 120)})") from error
    raise UserError(f"{part.name}: has no video stream")


def _packets(source: Any, stream: Any, part: Part) -> list[Any]:
    try:
        packets = [packet for packet in source.demux(stream) if packet.size]
    except av.FFmpegError as error:
        raise UserError(f"{part.name}: cannot be read as video ({shorten(error, 120)})") from error
    if len(packets) < part.num_frames:
        raise UserError(f"{part.name}: has {len(packets)} frames, but its description says {part.num_frames}")
    times = [packet.pts for packet in packets]
    if times != sorted(times) or not packets[0].is_keyframe:
        raise UserError(f"{part.name}: its frames are not stored in the order of their times (B-frames)")
    return packets[: part.num_frames]
