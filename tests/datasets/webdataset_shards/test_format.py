import io
import json
import zipfile
from dataclasses import replace

import cv2
import numpy as np
import pyarrow.json
import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Camera, Clip
from driveforge.datasets.webdataset_shards.format import (
    EXTENSIONS,
    SCENE_MEMBERS,
    clip_from_members,
    clip_members,
    scene_from_members,
)
from tests.datasets.small_clips import (
    assert_same_scene,
    bare_clip,
    moving_mount,
    older_members,
    recorded_clip,
    small_clip,
    smooth_frames,
)

METADATA = {"seed": 7, "measures": [{"name": "static_track_error", "value": 0.1 + 0.2}], "edit": "dämmerung"}


def rewritten(members: dict[str, bytes], **changes: object) -> dict[str, bytes]:
    return members | {"json": json.dumps(json.loads(members["json"]) | changes).encode()}


@pytest.mark.parametrize(
    "clip",
    [
        small_clip(),
        small_clip(cameras=("CAM_FRONT", "CAM_BACK")),
        small_clip().with_scene(held_frames=3),
        Clip(scene=moving_mount(small_clip().scene), frames=small_clip().frames),
        small_clip().with_scene(tracks=(), lanes=()),
        small_clip(num_frames=1),
        bare_clip(),
        recorded_clip(),
    ],
    ids=["plain", "two-cameras", "held", "moving-mount", "no-tracks", "one-frame", "bare", "recorded"],
)
def test_a_clip_survives(clip: Clip) -> None:
    got, metadata = clip_from_members(clip_members(clip, METADATA), "t.tar: key")
    assert_same_scene(got.scene, clip.scene)
    assert metadata == METADATA
    assert abs(got.frames.astype(float) - clip.frames).mean() < 4


def test_members_are_those_of_the_format() -> None:
    clip = small_clip(cameras=("CAM_FRONT", "CAM_BACK"))
    members = clip_members(clip, METADATA)
    assert set(members) == {*SCENE_MEMBERS, "cam_front.mp4", "cam_back.mp4", "thumb.jpg"}
    assert {name.rpartition(".")[2] for name in members} <= set(EXTENSIONS)
    assert {*SCENE_MEMBERS, "camera.mp4", "thumb.jpg"} == set(clip_members(bare_clip(), {}))
    described = json.loads(members["json"])
    assert [camera["member"] for camera in described["cameras"]] == ["cam_front.mp4", "cam_back.mp4"]
    assert described["num_frames"] == 9 and abs(described["frame_rate"] - 10) < 1e-3


def test_every_key_has_one_type_in_all_samples() -> None:
    moving = Clip(scene=moving_mount(small_clip().scene), frames=small_clip().frames)
    clips = [small_clip().with_scene(tracks=(), lanes=()), small_clip(), moving]
    described = [clip_members(clip, METADATA)["json"] for clip in clips]
    types = [pyarrow.json.read_json(io.BytesIO(line)).schema for line in described]
    assert types[1].equals(types[0]) and types[2].equals(types[0])
    # The reader infers types from the first block.
    block = pyarrow.json.ReadOptions(block_size=max(map(len, described)) + 2)
    table = pyarrow.json.read_json(io.BytesIO(b"\n".join(described)), block)
    assert [len(json.loads(text)) for text in table["lanes"].to_pylist()] == [0, 1, 1]


def test_samples_of_older_versions_are_read() -> None:
    for clip in (small_clip(), bare_clip()):
        for version in (1, 2):
            read, metadata = clip_from_members(older_members(clip, version, METADATA), "t.tar: key")
            assert_same_scene(read.scene, clip.scene)
            assert metadata == METADATA


def test_arrays_are_plain_and_have_the_documented_shapes() -> None:
    clip = small_clip()
    members = clip_members(clip, {})
    np.testing.assert_array_equal(
        np.load(io.BytesIO(members["poses.npy"]), allow_pickle=False), clip.scene.ego_to_world
    )
    tracks = np.load(io.BytesIO(members["tracks.npz"]), allow_pickle=False)
    assert {name: tracks[name].shape for name in tracks.files} == {
        "ids": (2,),
        "categories": (2,),
        "sizes": (2, 3),
        "box_to_world": (2, 9, 4, 4),
        "present": (2, 9),
        "lidar_points": (2, 9),
        "annotated_attributes": (2, 9),
    }
    assert tracks["ids"].tolist() == ["a1", "b2"] and tracks["present"].sum() == 9 + 3


def test_the_same_clip_gives_the_same_bytes() -> None:
    members = clip_members(small_clip(), METADATA)
    assert members == clip_members(small_clip(), METADATA)
    with zipfile.ZipFile(io.BytesIO(members["tracks.npz"])) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_the_thumbnail_is_the_middle_frame_at_reduced_size() -> None:
    wide = Clip(
        scene=replace(bare_clip().scene, cameras=(Camera(name="camera", width=640, height=96),)),
        frames=smooth_frames(9, 96, 640)[None],
    )
    image = cv2.imdecode(np.frombuffer(clip_members(wide, {})["thumb.jpg"], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert image.shape == (48, 320, 3)
    errors = abs(image - wide.frames[0].reshape(9, 48, 2, 320, 2, 3).mean((2, 4))).mean((1, 2, 3))
    assert errors.argmin() == 4 and errors[4] < 6


def test_metadata_that_is_not_json_is_refused() -> None:
    for value in (float("nan"), np.float32(1), {1, 2}):
        with pytest.raises(UserError, match="metadata"):
            clip_members(small_clip(), {"score": value})


def test_cameras_that_differ_only_in_case_are_refused() -> None:
    with pytest.raises(UserError, match="more than case"):
        clip_members(small_clip(cameras=("FRONT", "front")), {})


def test_errors_name_the_sample_and_member() -> None:
    members = clip_members(small_clip(), {})
    other = clip_members(small_clip(num_frames=8), {})
    poses = io.BytesIO()
    np.save(poses, 2 * np.load(io.BytesIO(members["poses.npy"])))
    broken = {
        "member cam_front.mp4 is missing": {k: v for k, v in members.items() if k != "cam_front.mp4"},
        "member poses.npy is missing": {k: v for k, v in members.items() if k != "poses.npy"},
        "json: num_objects is 3, but tracks.npz has 2": rewritten(members, num_objects=3),
        "member tracks.npz is missing": {k: v for k, v in members.items() if k != "tracks.npz"},
        "cam_front.mp4 has 8 frames of 80x48, but its json says 9": members | {"cam_front.mp4": other["cam_front.mp4"]},
        "cam_front.mp4: cannot be read": members | {"cam_front.mp4": members["cam_front.mp4"][:900]},
        "ego_to_world must be rigid": members | {"poses.npy": poses.getvalue()},
        "allow_pickle=False": members | {"poses.npy": b"\x80\x04no array"},
        "json: is not valid JSON": members | {"json": b"{"},
        "json: lanes: is not valid JSON": rewritten(members, lanes="[{"),
        "json has schema_version 9": rewritten(members, schema_version=9),
        "json: cameras.0.: width": rewritten(members, cameras=[{"name": "CAM_FRONT"}]),
    }
    for message, sample in broken.items():
        with pytest.raises(UserError, match=message) as raised:
            clip_from_members(sample, "t.tar: key")
        assert str(raised.value).startswith("t.tar: key: ")


@pytest.mark.parametrize("cut", [0, 30, 400, -8])
def test_truncated_arrays_are_refused(cut: int) -> None:
    members = clip_members(small_clip(), {})
    for name in ("poses.npy", "tracks.npz"):
        with pytest.raises(UserError, match=r"t\.tar: key"):
            clip_from_members(members | {name: members[name][:cut]}, "t.tar: key")


def test_a_scene_is_read_without_its_video() -> None:
    members = {k: v for k, v in clip_members(small_clip(), METADATA).items() if not k.endswith((".mp4", ".jpg"))}
    scene, metadata = scene_from_members(members, "t.tar: key")
    assert_same_scene(scene, small_clip().scene)
    assert metadata == METADATA
