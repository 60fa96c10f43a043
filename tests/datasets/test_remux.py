"""Videos cut and joined without decoding."""

import numpy as np
import pytest

from driveforge.datasets.disclosure import is_marked, mark_generated
from driveforge.datasets.errors import UserError
from driveforge.datasets.remux import Part, decoder_settings, join_videos
from driveforge.datasets.video import decode_mp4, encode_mp4
from tests.datasets.small_clips import smooth_frames


def part(num_frames: int = 9, *, seed: int = 0, kept: int = 0, width: int = 80) -> Part:
    video = encode_mp4(smooth_frames(num_frames, 48, width, seed), 10.0)
    return Part(video=video, num_frames=kept or num_frames, name=f"video {seed}")


@pytest.mark.parametrize("frame_rate", [10.0, 12.5, 29.97])
def test_frames_keep_their_bits_and_get_regular_times(frame_rate: float) -> None:
    parts = [part(17), part(9, seed=1, kept=6), part(5, seed=2)]
    frames, times = decode_mp4(join_videos(parts, frame_rate))
    expected = np.concatenate([decode_mp4(p.video)[0][: p.num_frames] for p in parts])
    np.testing.assert_array_equal(frames, expected)
    np.testing.assert_allclose(times, np.arange(28) / frame_rate, atol=1e-6)


def test_the_same_parts_give_the_same_bytes() -> None:
    parts = [part(), part(seed=1)]
    assert join_videos(parts, 10.0) == join_videos(parts, 10.0)
    assert decoder_settings(parts[0].video, "") == decoder_settings(parts[1].video, "")


def test_videos_that_do_not_fit_together_are_named() -> None:
    other = part(seed=3, width=96)
    assert decoder_settings(other.video, "") != decoder_settings(part().video, "")
    with pytest.raises(UserError, match="video 3: its size or encoding differs"):
        join_videos([part(), other], 10.0)


def test_short_and_damaged_videos_are_named() -> None:
    with pytest.raises(UserError, match="video 0: has 9 frames, but its description says 10"):
        join_videos([part(kept=10)], 10.0)
    with pytest.raises(UserError, match="broken: cannot be read as video"):
        join_videos([Part(video=b"not a video at all", num_frames=1, name="broken")], 10.0)


def test_the_mark_of_generated_videos_is_kept() -> None:
    plain, generated = part(), part(seed=1)
    marked = Part(video=mark_generated(generated.video), num_frames=9, name="marked")
    assert is_marked(join_videos([plain, marked], 10.0)) and not is_marked(join_videos([plain, generated], 10.0))
    frames, _ = decode_mp4(join_videos([plain, marked], 10.0))
    assert (frames[9:] == decode_mp4(generated.video)[0]).all()
