import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from driveforge.datasets.errors import UserError
from driveforge.datasets.geometry import Array, pose
from driveforge.datasets.scene import Scene
from driveforge.datasets.scene_json import read_scene_json, scene_from_json, scene_to_json
from tests.datasets.small_clips import assert_same_scene, bare_clip, moving_mount, recorded_clip, small_scene


def through_text(scene: Scene) -> Scene:
    return scene_from_json(json.loads(json.dumps(scene_to_json(scene))))


def test_every_field_survives() -> None:
    scene = replace(small_scene(cameras=("CAM_FRONT", "CAM_BACK")), held_frames=2)
    assert_same_scene(through_text(scene), scene)
    assert_same_scene(through_text(moving_mount(scene)), moving_mount(scene))
    assert_same_scene(through_text(bare_clip().scene), bare_clip().scene)


def test_what_only_the_recording_knows_survives_and_may_be_missing() -> None:
    scene = recorded_clip().scene
    assert_same_scene(through_text(scene), scene)
    record = scene_to_json(small_scene()) | {"schema_version": 1}
    del record["recording_token"]
    assert "image_times_us" not in record["cameras"][0] and "lidar_points" not in record["tracks"][0]
    assert_same_scene(scene_from_json(record), small_scene())


@settings(deadline=None)
@given(places=arrays(np.float64, (4, 3), elements=st.floats(-1e6, 1e6)), start=st.floats(0, 2e9))
def test_numbers_survive_bit_for_bit(places: Array, start: float) -> None:
    scene = small_scene(num_frames=4)
    scene = replace(scene, ego_to_world=pose(np.eye(3), places), timestamps=start + np.arange(4.0), tracks=())
    assert_same_scene(through_text(scene), scene)


def changed(**changes: Any) -> dict[str, Any]:
    return scene_to_json(small_scene()) | changes


def without(key: str) -> dict[str, Any]:
    return {k: v for k, v in changed().items() if k != key}


def camera(**changes: Any) -> dict[str, Any]:
    entry = changed()["cameras"][0] | changes
    return changed(cameras=[{k: v for k, v in entry.items() if v != "gone"}])


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (without("timestamps"), "here.json: timestamps is missing"),
        (camera(width="gone"), r"here.json: cameras\[0\]: width is missing"),
        (camera(intrinsics=[[1, 0], [0, 1]]), r"here.json: cameras\[0\]: camera CAM_FRONT: intrinsics must have shape"),
        (camera(intrinsics="wide"), r"here.json: cameras\[0\]"),
        (changed(ego_to_wrold=[]), "here.json: ego_to_wrold is not a known key; did you mean ego_to_world"),
        (changed(timestamps=[0.0] * 9), "here.json: drive-1: timestamps must be at least one and strictly"),
        (changed(timestamps=["now"] * 9), "here.json: "),
        (changed(schema_version=7), "here.json: schema_version is 7, but only 1 and 2 are supported"),
        (changed(cameras={}), "here.json: cameras must be a list, got dict"),
        (changed(tracks=[3]), r"here.json: tracks\[0\] must be a JSON object, got int"),
        (changed(lanes=[{"kind": "river", "points": [[0, 0, 0]]}]), r"here.json: lanes\[0\]: lane kind 'river'"),
        (changed(clip_id=5), "here.json: "),
        ([], "here.json must be a JSON object"),
    ],
)
def test_errors_name_the_file_and_key(record: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        scene_from_json(record, "here.json")


def test_nan_in_a_pose_is_refused(tmp_path: Path) -> None:
    poses = np.array(small_scene().ego_to_world)
    poses[3, 0, 3] = np.nan
    path = tmp_path / "scene.json"
    path.write_text(json.dumps(changed(ego_to_world=poses.tolist())))
    with pytest.raises(UserError, match=r"scene.json: .*ego_to_world holds NaN"):
        read_scene_json(path)


def test_optional_keys_have_defaults() -> None:
    scene = scene_from_json({k: changed()[k] for k in ("clip_id", "domain", "timestamps", "cameras")})
    assert (scene.caption, scene.tracks, scene.lanes, scene.ego_to_world, scene.held_frames) == ("", (), (), None, 0)


def test_missing_and_invalid_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{")
    for name in ("bad.json", "absent.json"):
        with pytest.raises(UserError, match=name):
            read_scene_json(tmp_path / name)
