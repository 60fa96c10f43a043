import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.folder_source import VideoFolderSource, write_clip_folder
from driveforge.datasets.framing import Framing
from driveforge.datasets.geometry import project
from driveforge.datasets.reframe import clip_windows
from driveforge.datasets.scene import Clip
from driveforge.datasets.video import decode_mp4, encode_mp4
from tests.datasets.small_clips import assert_same_scene, bare_clip, moving_mount, small_clip, smooth_frames
from tests.defaults import make_framing


def put_video(path: Path, num_frames: int = 25, rate: float = 10, size: tuple[int, int] = (48, 80)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_mp4(smooth_frames(num_frames, *size), rate))
    return path


@pytest.mark.parametrize(
    "clip",
    [small_clip(), small_clip(cameras=("CAM_FRONT", "CAM_BACK")), bare_clip()],
    ids=["one-camera", "two-cameras", "bare"],
)
def test_a_written_clip_is_read_back(tmp_path: Path, clip: Clip) -> None:
    folder = write_clip_folder(tmp_path, clip)
    assert folder == tmp_path / clip.scene.clip_id
    source = VideoFolderSource(tmp_path, None)
    (scene,) = source.scenes()
    assert_same_scene(scene, clip.scene)
    assert abs(source.load(scene).frames.astype(float) - clip.frames).mean() < 4


def test_videos_without_a_description_have_only_timestamps(tmp_path: Path) -> None:
    video = put_video(tmp_path / "Walks" / "In the park.mp4")
    source = VideoFolderSource(tmp_path, None)
    (scene,) = source.scenes()
    assert (scene.clip_id, scene.domain, scene.caption) == ("walks-in-the-park", "video", "")
    assert scene.ego_to_world is None and not scene.cameras[0].is_calibrated
    np.testing.assert_allclose(scene.timestamps, np.arange(25) / 10, atol=1e-4)
    np.testing.assert_array_equal(source.load(scene).frames[0], decode_mp4(video)[0])


def test_long_videos_are_cut_into_clips_of_the_framing(tmp_path: Path) -> None:
    put_video(tmp_path / "long.mp4", num_frames=60, rate=30)
    framing = make_framing(height=24, width=32, frame_rate=10, num_frames=5, stride=5)
    source = VideoFolderSource(tmp_path, framing, "handheld")
    assert [scene.clip_id for scene in source.scenes()] == [f"long-{i:04d}" for i in range(4)]
    second = source.scenes()[1]
    assert second.domain == "handheld" and abs(second.frame_rate - 10) < 0.1
    picked = clip_windows(framing, np.arange(60) / 30)[1]
    np.testing.assert_allclose(second.timestamps, picked / 30, atol=1e-3)
    frames = source.load(second).frames
    assert frames.shape == (1, 5, 24, 32, 3)
    whole = decode_mp4(tmp_path / "long.mp4")[0][picked, ::2, 8:72:2]
    assert abs(frames[0].astype(float) - whole).mean() < 12


def test_framing_selects_calibration_poses_and_tracks(tmp_path: Path) -> None:
    whole = small_clip(num_frames=12).with_scene(held_frames=4)
    whole = Clip(scene=moving_mount(whole.scene), frames=whole.frames)
    write_clip_folder(tmp_path, whole)
    framing = make_framing(height=24, width=32, frame_rate=5, num_frames=3, stride=3)
    first, second = VideoFolderSource(tmp_path, framing).scenes()
    picked = clip_windows(framing, whole.scene.timestamps)[1]
    np.testing.assert_array_equal(second.timestamps, whole.scene.timestamps[picked])
    np.testing.assert_array_equal(second.ego_to_world, whole.scene.ego_to_world[picked])
    np.testing.assert_array_equal(second.cameras[0].camera_to_ego, whole.scene.cameras[0].camera_to_ego[picked])
    np.testing.assert_array_equal(second.tracks[0].box_to_world, whole.scene.tracks[0].box_to_world[picked])
    assert [track.id for track in first.tracks] == ["a1", "b2"] and [track.id for track in second.tracks] == ["a1"]
    assert (first.held_frames, second.held_frames) == (0, int((picked >= 8).sum())) and second.held_frames > 0
    point = np.array([[0.5, 0.2, 9.0]])
    before = project(point, whole.scene.cameras[0].intrinsics)[0]
    np.testing.assert_allclose(
        project(point, second.cameras[0].intrinsics)[0], 0.5 * (before + 0.5) - 0.5 - [4, 0], atol=1e-9
    )


def test_a_description_belongs_to_the_only_video_or_to_its_stem(tmp_path: Path) -> None:
    described = write_clip_folder(tmp_path / "a", small_clip("drive-1"))
    (described / "cam_front.mp4").rename(described / "anything.mp4")
    other = write_clip_folder(tmp_path / "b", small_clip("drive-2"))
    (other / "cam_front.mp4").rename(tmp_path / "b" / "night.mp4")
    (other / "scene.json").rename(tmp_path / "b" / "night.scene.json")
    put_video(tmp_path / "b" / "plain.mp4")
    scenes = {scene.clip_id: scene for scene in VideoFolderSource(tmp_path, None).scenes()}
    assert set(scenes) == {"drive-1", "drive-2", "b-plain"}
    assert_same_scene(scenes["drive-1"], small_clip("drive-1").scene)
    assert_same_scene(scenes["drive-2"], small_clip("drive-2").scene)


def test_a_pattern_selects_videos(tmp_path: Path) -> None:
    put_video(tmp_path / "walk" / "small.mp4")
    put_video(tmp_path / "walk" / "native.mp4", size=(96, 160))
    assert len(VideoFolderSource(tmp_path, None)) == 2
    (scene,) = VideoFolderSource(tmp_path, None, pattern="small.mp4").scenes()
    assert scene.cameras[0].width == 80


def test_errors_name_the_file(tmp_path: Path) -> None:
    def fails(message: str, framing: Framing | None = None) -> None:
        with pytest.raises(UserError, match=message):
            VideoFolderSource(tmp_path, framing)

    fails("no video matches")
    path = put_video(tmp_path / "v.mp4", num_frames=5)
    fails("none long enough for 17 frames at 10 Hz", make_framing())
    for folder in ("a", "b"):
        write_clip_folder(tmp_path / folder, small_clip())
    fails(r"a.*mp4 and .*b.*mp4 both have the id drive-1: rename")
    for folder in ("a", "b"):
        shutil.rmtree(tmp_path / folder)
    path.write_bytes(path.read_bytes()[:-40])
    fails(r"v\.mp4: .*truncated")
    path.unlink()

    folder = write_clip_folder(tmp_path, small_clip(cameras=("CAM_FRONT", "CAM_BACK")))
    put_video(folder / "cam_back.mp4", num_frames=8)
    fails(r"cam_back.mp4: 8 frames of 80x48, but scene.json says 9 of 80x48 for camera CAM_BACK")
    (folder / "cam_back.mp4").unlink()
    fails(r"cam_back.mp4: no such video")
    (folder / "scene.json").write_text(json.dumps({"clip_id": "x"}))
    fails(r"scene.json: domain is missing")
    shutil.rmtree(folder)
    with pytest.raises(UserError, match="no such video folder"):
        VideoFolderSource(tmp_path / "absent", None)


def test_skipped_videos_are_reported(tmp_path: Path) -> None:
    put_video(tmp_path / "LONG.MP4", num_frames=25)
    put_video(tmp_path / "short.mov", num_frames=5)
    put_video(tmp_path / ".hidden.mp4", num_frames=5)
    (tmp_path / "other.AVI").write_bytes(b"")
    source = VideoFolderSource(tmp_path, make_framing(height=32, width=48))
    assert [scene.clip_id for scene in source.scenes()] == ["long-0000"]
    short, unread = source.skipped
    assert short == f"1 videos are too short for a clip, the first is {tmp_path / 'short.mov'}"
    assert unread.startswith(
        f"1 videos in unsupported formats were skipped (.AVI), the first is {tmp_path / 'other.AVI'}"
    )
    assert VideoFolderSource(tmp_path, None, pattern="LONG.MP4").skipped == ()


def test_a_clip_has_the_scene_that_it_is_loaded_with(tmp_path: Path) -> None:
    write_clip_folder(tmp_path, small_clip())
    source = VideoFolderSource(tmp_path, None)
    edited = small_clip().with_scene(caption="rain").scene
    assert source.load(edited).scene.caption == "rain"
    with pytest.raises(UserError, match="no clip 'other'"):
        source.load(small_clip("other").scene)


@pytest.mark.real
def test_real_clips_are_cut_and_resized() -> None:
    root = Path(os.environ.get("DRIVEFORGE_REAL_DATA", Path(__file__).parents[3] / "shared" / "data")) / "clips"
    if not root.exists():
        pytest.skip("no real footage (DRIVEFORGE_REAL_DATA)")
    source = VideoFolderSource(root, make_framing(), "handheld", pattern="clip_256x448.mp4")
    assert len({scene.clip_id for scene in source.scenes()}) == len(source) > 20
    clip = source.load(source.scenes()[-1])
    assert clip.frames.shape == (1, 17, 96, 160, 3)
    assert clip.frames.std() > 10
