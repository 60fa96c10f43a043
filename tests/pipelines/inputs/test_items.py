import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.folder_source import write_clip_folder
from driveforge.datasets.scene import Clip
from driveforge.datasets.scene_json import scene_to_json
from driveforge.datasets.video import encode_mp4
from driveforge.datasets.webdataset_shards.format import clip_members
from driveforge.datasets.webdataset_shards.tarball import write_tar
from driveforge.pipelines.inputs.items import list_clips
from tests.pipelines.generators import FakeGenerator, first_frames_of
from tests.pipelines.scenes import driving_scene


def clip(clip_id: str) -> Clip:
    scene = driving_scene(clip_id, yaw_rate=0.1)
    return FakeGenerator().generate(scene, first_frames_of(scene), seed=0, settings=None)  # type: ignore[arg-type]


def test_videos_with_and_without_a_description(tmp_path: Path) -> None:
    write_clip_folder(tmp_path, clip("a"))
    write_clip_folder(tmp_path / "deeper", clip("b"))
    video = encode_mp4(clip("c").frames[0], 10.0)
    (tmp_path / "Plain One.mp4").write_bytes(video)
    (tmp_path / "deeper" / "Plain One.mp4").write_bytes(video)
    (tmp_path / "c.mp4").write_bytes(video)
    (tmp_path / "c.scene.json").write_text(json.dumps(scene_to_json(clip("c").scene)))
    clips = [item.load() for item in list_clips(tmp_path)]
    assert sorted(c.scene.clip_id for c in clips) == ["a", "b", "c", "deeper-plain-one", "plain-one"]
    posed = {c.scene.clip_id for c in clips if c.scene.ego_to_world is not None}
    assert posed == {"a", "b", "c"}


def test_a_damaged_clip_does_not_affect_the_others(tmp_path: Path) -> None:
    write_clip_folder(tmp_path, clip("good"))
    folder = write_clip_folder(tmp_path, clip("torn"))
    video = next(folder.glob("*.mp4"))
    video.write_bytes(video.read_bytes()[:300])
    items = {item.name: item for item in list_clips(tmp_path)}
    assert items["good"].load().scene.clip_id == "good"
    with pytest.raises(UserError, match="torn"):
        items["torn"].load()


def test_samples_of_shards_are_loaded_one_by_one(tmp_path: Path) -> None:
    write_tar(tmp_path / "x-0.tar", ((name, clip_members(clip(name), {})) for name in ("a", "b")))
    (tmp_path / "x-1.tar").write_bytes(b"not a tar at all")
    items = {item.name: item for item in list_clips(tmp_path)}
    assert list(items) == ["x-0.tar/a", "x-0.tar/b", "x-1.tar"]
    assert items["x-0.tar/b"].load().scene.clip_id == "b"
    with pytest.raises(UserError, match=r"x-1\.tar"):
        items["x-1.tar"].load()
    assert len(list_clips(tmp_path / "x-0.tar")) == 2


def test_the_path_of_one_video(tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_bytes(encode_mp4(clip("v").frames[0], 10.0))
    (item,) = list_clips(tmp_path / "v.mp4")
    assert item.load().scene.num_frames == 9


@pytest.mark.real
def test_every_nuscenes_scene_is_one_clip_of_the_given_height(real_data: Path) -> None:
    root = real_data / "noncommercial" / "kitti_straight" / "nuscenes_format"
    (item,) = list_clips(root)
    loaded = item.load()
    assert loaded.scene.num_frames == 51
    assert loaded.frames.shape[2] == 256
    assert loaded.scene.cameras[0].width == loaded.frames.shape[3]
    intrinsics = loaded.scene.cameras[0].intrinsics
    assert intrinsics is not None and np.isclose(intrinsics[1, 2] / 256, 0.5, atol=0.05)


def test_a_path_without_clips_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        list_clips(tmp_path / "absent")
    with pytest.raises(UserError, match="no videos"):
        list_clips(tmp_path)
    for name in ("v1.0-mini", "v1.0-trainval"):
        (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=r"v1\.0-mini, v1\.0-trainval; choose"):
        list_clips(tmp_path)
    with pytest.raises(UserError, match=r"no tables v1\.0-tset"):
        list_clips(tmp_path, version="v1.0-tset")


def test_an_item_is_the_same_in_another_process(tmp_path: Path) -> None:
    write_clip_folder(tmp_path, clip("a"))
    (item,) = list_clips(tmp_path)
    copy = pickle.loads(pickle.dumps(item))
    assert copy == item and hash(copy) == hash(item)
    assert copy.load().scene.clip_id == "a"
