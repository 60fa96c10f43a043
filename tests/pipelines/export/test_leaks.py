from pathlib import Path
from typing import Any

import numpy as np
import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Clip
from driveforge.pipelines.export.leaks import NearDuplicates, find_near_duplicates, require_no_evaluation_split
from driveforge.pipelines.generate.requests import FIRST_FRAMES_FOLDER, store_first_frames
from driveforge.pipelines.generate.source_frames import SourceFrames, hash_clip, read_source_frames
from tests.datasets.small_clips import small_clip, smooth_frames


def record(root: Path, *clips: Clip) -> None:
    for clip in clips:
        SourceFrames(root).add(clip.scene, clip.frames)


def compare(root: Path, clip: Clip, **metadata: Any) -> NearDuplicates:
    return find_near_duplicates({"frame_hashes": hash_clip(clip), **metadata}, read_source_frames(root), root)


def test_a_repeated_recording_is_found_with_its_frame(tmp_path: Path) -> None:
    recorded = small_clip("drive-7", seed=7)
    record(tmp_path, small_clip("drive-1", seed=1), recorded)
    found = compare(tmp_path, recorded)
    assert found.compared and found.share == 1 and found.bits == 0
    assert (found.recorded_clip, found.camera, found.frame, found.recorded_frame) == ("drive-7", "CAM_FRONT", 0, 0)


def test_a_new_clip_is_not_a_near_duplicate(tmp_path: Path) -> None:
    record(tmp_path, small_clip("drive-1", seed=1))
    clip = small_clip("drive-2", seed=2)
    found = compare(tmp_path, Clip(scene=clip.scene, frames=smooth_frames(9, 48, 80, 99)[None, :, ::-1]))
    assert found.compared and found.share == 0 and found.bits > 31


def test_given_first_frames_are_not_counted(tmp_path: Path) -> None:
    recorded = small_clip("drive-1", seed=1)
    record(tmp_path, recorded)
    frames = np.array(smooth_frames(9, 48, 80, 50)[None, :, ::-1])
    frames[:, :2] = recorded.frames[:, :2]
    name = store_first_frames(tmp_path / FIRST_FRAMES_FOLDER, recorded.frames[:, :2])
    clip = Clip(scene=recorded.scene, frames=frames)
    assert compare(tmp_path, clip).bits == 0
    found = compare(tmp_path, clip, first_frames=name)
    assert found.bits > 0 and found.share == 0 and found.frame >= 2


def test_without_recorded_frames_nothing_was_compared(tmp_path: Path) -> None:
    assert compare(tmp_path, small_clip()) == NearDuplicates()
    record(tmp_path, small_clip())
    assert not find_near_duplicates({}, read_source_frames(tmp_path), tmp_path).compared


@pytest.mark.parametrize("split", ["val", "mini_val", "test"])
def test_clips_of_an_evaluation_split_are_refused_unless_allowed(split: str) -> None:
    splits = {"a": "train", "b": split}
    with pytest.raises(UserError, match=f"1 accepted clips, b for example.*{split}.*allow_evaluation_split=true"):
        require_no_evaluation_split(splits, allowed=False)
    require_no_evaluation_split(splits, allowed=True)
    require_no_evaluation_split({"a": "train", "c": ""}, allowed=False)
