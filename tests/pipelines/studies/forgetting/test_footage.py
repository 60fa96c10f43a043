"""Real videos in the study: clip ids include the folder, and no frame is in two parts."""

from pathlib import Path

import numpy as np
import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.video import encode_mp4
from driveforge.pipelines.studies.forgetting.footage import TEST_PART, TRAIN_PART, VALIDATION_PART, FootageSource
from tests.defaults import make_framing

FRAMING = make_framing(height=32, width=48, num_frames=5, stride=2)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    root = tmp_path_factory.mktemp("footage")
    rng = np.random.default_rng(0)
    paths = []
    for folder, length in (("Highway", 60), ("tele", 40)):
        (root / folder).mkdir()
        paths.append(root / folder / "clip.mp4")
        paths[-1].write_bytes(encode_mp4(rng.integers(0, 255, (length, 32, 48, 3), np.uint8), 10.0))
    return tuple(paths)


def test_videos_of_the_same_name_have_clip_ids_with_their_folders(videos: tuple[Path, ...]) -> None:
    scenes = FootageSource(videos=videos, framing=FRAMING).scenes()
    assert len({scene.clip_id for scene in scenes}) == len(scenes)
    assert {scene.domain for scene in scenes} == {"highway", "tele"}
    assert {scene.domain for scene in FootageSource(videos=videos, framing=FRAMING, domain="driving-day").scenes()} == {
        "driving-day"
    }


def test_no_frame_is_in_two_parts_and_every_part_has_clips_of_every_video(videos: tuple[Path, ...]) -> None:
    times = []
    for part in (TRAIN_PART, VALIDATION_PART, TEST_PART):
        scenes = FootageSource(videos=videos, framing=FRAMING, part=part).scenes()
        assert {scene.domain for scene in scenes} == {"highway", "tele"}
        times.append({(scene.domain, round(float(t), 3)) for scene in scenes for t in scene.timestamps})
    assert not times[0] & times[1] and not times[1] & times[2] and not times[0] & times[2]


def test_a_clip_is_loaded_from_its_own_video(videos: tuple[Path, ...]) -> None:
    footage = FootageSource(videos=videos, framing=FRAMING)
    last = footage.scenes()[-1]
    single = FootageSource(videos=videos[1:], framing=FRAMING)
    np.testing.assert_array_equal(footage.load(last).frames, single.load(last).frames)


def test_clips_of_videos_with_different_rates_have_nominal_timestamps(tmp_path: Path) -> None:
    """The frames of a 25 Hz video nearest to 10 Hz alternate between steps of 0.08 and 0.12 s."""
    paths = []
    for rate in (12.5, 25.0):
        (tmp_path / f"{rate:g}").mkdir()
        paths.append(tmp_path / f"{rate:g}" / "clip.mp4")
        paths[-1].write_bytes(encode_mp4(np.zeros((40, 32, 48, 3), np.uint8), rate))
    footage = FootageSource(videos=tuple(paths), framing=FRAMING)
    for scene in footage.scenes():
        np.testing.assert_allclose(np.diff(scene.timestamps), 0.1)
        np.testing.assert_array_equal(footage.load(scene).scene.timestamps, scene.timestamps)


def test_a_missing_video_is_named_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone/clip\.mp4: no such video"):
        FootageSource(videos=(tmp_path / "gone" / "clip.mp4",), framing=FRAMING).scenes()


def test_videos_too_short_for_their_part_are_named_in_the_error(tmp_path: Path) -> None:
    (tmp_path / "short").mkdir()
    video = tmp_path / "short" / "clip.mp4"
    video.write_bytes(encode_mp4(np.zeros((9, 32, 48, 3), np.uint8), 10.0))
    with pytest.raises(UserError, match=r"short/clip\.mp4: no complete clip within 50% to 70% of the video"):
        FootageSource(videos=(video,), framing=FRAMING, part=VALIDATION_PART).scenes()
