import io

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driveforge.datasets.disclosure import DIGITAL_SOURCE_TYPE, is_marked, mark_generated, mark_videos
from driveforge.datasets.video import decode_mp4, encode_mp4
from tests.datasets.small_clips import smooth_frames


@pytest.fixture(scope="module")
def video() -> bytes:
    return encode_mp4(smooth_frames(5, 48, 80), 10.0)


def test_an_independent_reader_finds_the_mark(video: bytes) -> None:
    with av.open(io.BytesIO(mark_generated(video)), options={"export_xmp": "1"}) as container:
        xmp = container.metadata["xmp"]
    assert f"<Iptc4xmpExt:DigitalSourceType>{DIGITAL_SOURCE_TYPE}</Iptc4xmpExt:DigitalSourceType>" in xmp
    assert DIGITAL_SOURCE_TYPE.rpartition("/")[2] == "trainedAlgorithmicMedia"
    with av.open(io.BytesIO(video), options={"export_xmp": "1"}) as container:
        assert "xmp" not in container.metadata


def test_a_marked_video_has_the_same_frames_and_is_marked_once(video: bytes) -> None:
    marked = mark_generated(video)
    assert marked.startswith(video) and is_marked(marked) and not is_marked(video)
    assert mark_generated(marked) == marked
    np.testing.assert_array_equal(decode_mp4(marked)[0], decode_mp4(video)[0])


def test_only_videos_of_a_sample_are_marked(video: bytes) -> None:
    members = {"json": b"{}", "cam_front.mp4": video, "cam_back.mp4": video, "thumb.jpg": b"\xff"}
    marked = mark_videos(members)
    assert {name for name in members if marked[name] != members[name]} == {"cam_front.mp4", "cam_back.mp4"}


def test_the_words_alone_are_not_a_mark(video: bytes) -> None:
    assert not is_marked(video + DIGITAL_SOURCE_TYPE.encode())
    other = mark_generated(video).replace(b"trainedAlgorithmicMedia", b"digitalCaptureCameraOne")
    assert not is_marked(other)


@given(content=st.binary(max_size=200))
def test_any_bytes_are_judged_without_an_error(content: bytes) -> None:
    assert not is_marked(content)
