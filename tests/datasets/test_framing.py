"""Frames are selected by time, and intrinsics are adjusted to every resize and crop."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driveforge.datasets.errors import UserError
from driveforge.datasets.reframe import clip_windows, reframe_camera, reframe_frames
from driveforge.datasets.scene import Camera
from tests.defaults import make_framing


@given(st.integers(17, 200), st.sampled_from([10.0, 12.0, 20.0, 30.0]))
def test_windows_never_repeat_or_skip(count: int, rate: float) -> None:
    framing = make_framing()
    times = np.arange(count) / rate
    for window in clip_windows(framing, times):
        assert len(window) == 17
        assert (np.diff(window) > 0).all()
        np.testing.assert_allclose(times[window] - times[window[0]], np.arange(17) / 10, atol=0.061)


def test_a_gap_ends_a_window() -> None:
    times = np.concatenate([np.arange(20), np.arange(30, 50)]) / 10
    starts = [int(w[0]) for w in clip_windows(make_framing(), times)]
    assert starts == [0, 20]


def test_footage_below_the_frame_rate_gives_no_window() -> None:
    assert clip_windows(make_framing(), np.arange(40) / 2) == []


def test_invalid_framings_are_refused() -> None:
    with pytest.raises(UserError, match="positive"):
        make_framing(num_frames=0)


@settings(max_examples=30)
@given(
    st.integers(40, 300), st.integers(40, 300), st.integers(32, 128), st.integers(32, 128), st.floats(0.3, 0.7),
    st.floats(0.3, 0.7),
)  # fmt: skip
def test_image_points_match_the_reframed_intrinsics(h: int, w: int, new_h: int, new_w: int, x: float, y: float) -> None:
    camera = Camera(name="c", width=w, height=h, intrinsics=np.array([[w, 0, w / 2], [0, w, h / 2], [0, 0, 1]]))
    center = np.array([round(x * (w - 1)), round(y * (h - 1))])
    image = np.zeros((1, h, w, 3), np.float32)
    rows, columns = np.mgrid[:h, :w]
    sigma = 0.03 * min(h, w) + 1
    image[0] = (255 * np.exp(-((columns - center[0]) ** 2 + (rows - center[1]) ** 2) / (2 * sigma**2)))[..., None]
    out = reframe_frames(image.astype(np.uint8), new_h, new_w)[0, ..., 0].astype(float)
    moved = reframe_camera(camera, new_h, new_w).intrinsics
    ray = np.linalg.inv(camera.intrinsics) @ [*center, 1]
    expected = (moved @ ray)[:2]
    if not (8 < expected[0] < new_w - 8 and 8 < expected[1] < new_h - 8):
        return
    moments = cv2.moments(np.where(out > 0.5 * out.max(), out, 0))
    found = np.array([moments["m10"], moments["m01"]]) / moments["m00"]
    np.testing.assert_allclose(found, expected, atol=0.6)
