import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from driveforge.datasets.errors import UserError
from driveforge.datasets.video import decode_mp4, encode_mp4, read_frames, read_video_info
from tests.datasets.small_clips import smooth_frames

FRAMES = smooth_frames(25, 48, 80)


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


@settings(max_examples=10, deadline=None)
@given(
    count=st.integers(1, 30), height=st.integers(8, 30), width=st.integers(8, 30), rate=st.sampled_from([1, 10, 29.97])
)
def test_round_trip_keeps_count_size_times_and_colors(count: int, height: int, width: int, rate: float) -> None:
    frames = smooth_frames(count, 2 * height, 2 * width)
    decoded, timestamps = decode_mp4(encode_mp4(frames, rate))
    assert decoded.shape == frames.shape and decoded.dtype == np.uint8
    np.testing.assert_allclose(timestamps, np.arange(count) / rate, atol=1e-3 / rate)
    assert psnr(decoded, frames) > 30
    assert abs(decoded.astype(float).mean((0, 1, 2)) - frames.mean((0, 1, 2))).max() < 3


def test_the_same_frames_give_the_same_bytes_without_build_stamps() -> None:
    video = encode_mp4(FRAMES, 10)
    assert video == encode_mp4(FRAMES.copy(), 10)
    assert b"Lavf" not in video


def test_stream_is_yuv420p_without_b_frames_and_with_key_frames(tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_bytes(encode_mp4(FRAMES, 10))
    with av.open(tmp_path / "v.mp4") as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        assert stream.codec_context.name == "h264" and stream.codec_context.pix_fmt == "yuv420p"
    assert all(packet.pts == packet.dts for packet in packets)
    assert [i for i, packet in enumerate(packets) if packet.is_keyframe][:2] == [0, 12]


def test_a_reader_that_ignores_color_tags_sees_the_same_colors(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    blocks = np.kron(np.random.default_rng(1).integers(0, 256, (3, 5, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    (tmp_path / "v.mp4").write_bytes(encode_mp4(np.stack([blocks] * 3), 10))
    image = cv2.VideoCapture(str(tmp_path / "v.mp4")).read()[1][..., ::-1]
    assert abs(image[8::16, 8::16].astype(int) - blocks[8::16, 8::16]).mean() < 2.5


def test_a_lower_crf_gives_a_larger_file() -> None:
    assert len(encode_mp4(FRAMES, 10, crf=10)) > len(encode_mp4(FRAMES, 10, crf=30))


@pytest.mark.parametrize(
    ("frames", "rate", "message"),
    [
        (np.zeros((2, 47, 80, 3), np.uint8), 10, "80x47 is odd"),
        (np.zeros((0, 48, 80, 3), np.uint8), 10, "T > 0"),
        (np.zeros((2, 48, 80, 3), np.float32), 10, "float32"),
        (np.zeros((2, 48, 80, 3), np.uint8), 0.0, "rate must be positive"),
    ],
)
def test_invalid_frames_are_refused(frames: NDArray[Any], rate: float, message: str) -> None:
    with pytest.raises(UserError, match=message):
        encode_mp4(frames, rate)


@settings(max_examples=25, deadline=None)
@given(share=st.floats(0, 0.999))
def test_a_video_truncated_anywhere_is_refused_by_name(share: float) -> None:
    video = encode_mp4(FRAMES, 10)
    with pytest.raises(UserError, match="my-clip"):
        decode_mp4(video[: int(share * len(video))], "my-clip")


@pytest.mark.parametrize("share", [0.5, 0.9, 0.999])
def test_a_truncated_video_is_refused_if_its_index_comes_first(tmp_path: Path, share: float) -> None:
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    with av.open(whole, "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=10, options={"g": "1"})
        stream.width, stream.height, stream.pix_fmt = 80, 48, "yuv420p"
        for image in FRAMES:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    cut.write_bytes(whole.read_bytes()[: int(share * whole.stat().st_size)])
    assert len(decode_mp4(whole)[0]) == 25
    for read in (decode_mp4, read_video_info):
        with pytest.raises(UserError, match=r"cut\.mp4: .*truncated"):
            read(cut)


def test_missing_and_foreign_files_are_refused_by_path(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video at all")
    for name in ("text.mp4", "absent.mp4"):
        for read in (decode_mp4, read_video_info):
            with pytest.raises(UserError, match=name):
                read(tmp_path / name)


def test_video_info_and_read_frames_match_a_full_decode(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    path.write_bytes(encode_mp4(FRAMES, 10))
    video, (decoded, timestamps) = read_video_info(path), decode_mp4(path)
    assert (video.width, video.height) == (80, 48)
    np.testing.assert_array_equal(video.timestamps, timestamps)
    for indices in ([0], [24], [13, 14, 20], list(range(25))):
        np.testing.assert_array_equal(np.stack(list(read_frames(video, indices))), decoded[indices])


def test_frames_are_found_after_b_frames_and_open_gops(tmp_path: Path) -> None:
    path = tmp_path / "b.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "7", "bf": "3", "x264-params": "open-gop=1"})
        stream.width, stream.height, stream.pix_fmt = 80, 48, "yuv420p"
        for image in FRAMES:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    video, (decoded, _) = read_video_info(path), decode_mp4(path)
    assert len(video.pts) == len(decoded) == 25
    for index in range(25):
        np.testing.assert_array_equal(next(read_frames(video, [index])), decoded[index])


def real_data() -> Path:
    return Path(os.environ.get("DRIVEFORGE_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))


@pytest.mark.real
def test_the_packets_of_real_footage_match_its_frames() -> None:
    path = real_data() / "clips" / "nvidia_freeway_tele" / "clip_256x448.mp4"
    if not path.exists():
        pytest.skip("no real footage (DRIVEFORGE_REAL_DATA)")
    video, (frames, timestamps) = read_video_info(path), decode_mp4(path)
    assert frames.shape == (128, 256, 448, 3)
    np.testing.assert_array_equal(video.timestamps, timestamps)
    assert abs(timestamps[-1] - 127 / 30) < 0.01
    with pytest.raises(UserError, match="truncated"):
        decode_mp4(path.read_bytes()[:200_000], "half")


def put_stream(
    container: Any, frames: NDArray[np.uint8], matrix: tuple[int, ...] | None = None, **options: Any
) -> None:
    """Add an H.264 stream with the display matrix (a, b, c, d) or other ``options``."""
    stream = container.add_stream("libx264", rate=10, options={"crf": "10"})
    stream.height, stream.width = frames.shape[1:3]
    stream.pix_fmt = "yuv420p"
    for name, value in options.items():
        setattr(stream, name, value)
    if matrix is not None:
        a, b, c, d = (n << 16 for n in matrix)
        stream.set_display_matrix((a, b, 0, c, d, 0, 0, 0, 1 << 30))
    for image in frames:
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))
    container.mux(stream.encode())


ROTATIONS: dict[tuple[int, ...], Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    (1, 0, 0, 1): lambda x: x,
    (-1, 0, 0, -1): lambda x: x[:, ::-1, ::-1],
    (-1, 0, 0, 1): lambda x: x[:, :, ::-1],
    (1, 0, 0, -1): lambda x: x[:, ::-1],
    (0, 1, -1, 0): lambda x: np.rot90(x, -1, (1, 2)),
    (0, -1, 1, 0): lambda x: np.rot90(x, 1, (1, 2)),
    (0, 1, 1, 0): lambda x: x.swapaxes(1, 2),
    (0, -1, -1, 0): lambda x: x.swapaxes(1, 2)[:, ::-1, ::-1],
}


@pytest.mark.parametrize("matrix", ROTATIONS)
def test_frames_are_rotated_and_mirrored_as_in_players(tmp_path: Path, matrix: tuple[int, ...]) -> None:
    path = tmp_path / "turned.mp4"
    with av.open(path, "w") as container:
        put_stream(container, FRAMES, matrix)
    expected = ROTATIONS[matrix](FRAMES)
    decoded, _ = decode_mp4(path)
    video = read_video_info(path)
    assert decoded.shape == expected.shape and (video.height, video.width) == expected.shape[1:3]
    assert psnr(decoded, expected) > 30
    np.testing.assert_array_equal(np.stack(list(read_frames(video, [0, 20]))), decoded[[0, 20]])


def test_a_rotation_by_45_degrees_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "skewed.mp4"
    with av.open(path, "w") as container:
        put_stream(container, FRAMES, (1, 1, -1, 1))
    for read in (decode_mp4, read_video_info):
        with pytest.raises(UserError, match=r"skewed\.mp4: its rotation is not a multiple of 90 degrees"):
            read(path)


@pytest.mark.parametrize(("aspect", "width"), [(Fraction(4, 3), 107), (Fraction(1, 2), 40), (Fraction(1), 80)])
def test_pixels_become_square(tmp_path: Path, aspect: Fraction, width: int) -> None:
    path = tmp_path / "wide.mp4"
    with av.open(path, "w") as container:
        put_stream(container, FRAMES, sample_aspect_ratio=aspect)
    assert decode_mp4(path)[0].shape == (25, 48, width, 3)
    assert (read_video_info(path).width, read_video_info(path).height) == (width, 48)


@pytest.mark.parametrize("order", ["cover-first", "cover-last", "attached"])
def test_a_cover_image_is_not_footage(tmp_path: Path, order: str) -> None:
    path = tmp_path / "drive.mp4"
    cover = smooth_frames(1, 120, 200)
    with av.open(path, "w") as container:
        if order == "attached":
            picture = container.add_stream("mjpeg", options={})
            picture.width, picture.height, picture.pix_fmt = 200, 120, "yuvj420p"
            picture.disposition = Disposition.attached_pic
            footage = container.add_stream("libx264", rate=10)
            footage.width, footage.height, footage.pix_fmt = 80, 48, "yuv420p"
            for stream, frames in ((picture, cover), (footage, FRAMES)):
                for image in frames:
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
                container.mux(stream.encode())
        else:
            streams = [cover, FRAMES] if order == "cover-first" else [FRAMES, cover]
            opened = []
            for frames in streams:
                stream = container.add_stream("libx264", rate=10)
                stream.height, stream.width = frames.shape[1:3]
                stream.pix_fmt = "yuv420p"
                opened.append(stream)
            for stream, frames in zip(opened, streams, strict=True):
                for image in frames:
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
                container.mux(stream.encode())
    assert decode_mp4(path)[0].shape == FRAMES.shape
    assert (read_video_info(path).width, len(read_video_info(path).pts)) == (80, 25)
