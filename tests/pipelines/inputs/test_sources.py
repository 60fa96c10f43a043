from pathlib import Path

import numpy as np
import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.video import encode_mp4
from driveforge.datasets.webdataset_shards.format import clip_members
from driveforge.datasets.webdataset_shards.tarball import write_tar
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.inputs.sources import (
    evaluation_indices,
    generation_indices,
    open_path,
    open_pretraining,
    open_replay,
    open_source,
    training_indices,
)
from tests.datasets.small_clips import small_clip, small_scene


@pytest.fixture
def footage(tmp_path: Path) -> Path:
    folder = tmp_path / "street"
    folder.mkdir()
    frames = np.random.default_rng(0).integers(0, 255, (12, 48, 80, 3), np.uint8)
    (folder / "video.mp4").write_bytes(encode_mp4(frames, 10.0))
    return tmp_path


def test_simulated_clips_are_divided_equally_among_the_domains() -> None:
    source = open_source(compose(["data.num_scenes=5", "data.domains=[driving-day, driving-rain]"]).data)
    assert len(source) == 6
    assert [scene.domain for scene in source.scenes()[2:4]] == ["driving-day", "driving-rain"]


def test_no_domains_is_an_error() -> None:
    with pytest.raises(UserError, match="domains is empty"):
        open_source(compose(["data.domains=[]"]).data)


def test_a_folder_of_videos_is_reframed(footage: Path) -> None:
    sizes = ["data.height=32", "data.width=48", "data.num_frames=5", "data.stride=5"]
    source = open_source(compose(["data=video", f"data.root={footage}", "data.domain=street", *sizes]).data)
    clip = source.load(source.scenes()[0])
    assert clip.frames.shape == (1, 5, 32, 48, 3)
    assert clip.scene.domain == "street"


def test_replay_comes_from_footage_or_from_the_procedural_domains(footage: Path) -> None:
    framing = compose(["data.num_frames=5", "data.stride=5"]).data.framing
    assert [
        scene.num_frames for scene in open_replay(compose([f"replay.root={footage}"]).replay, framing).scenes()
    ] == [5, 5]
    simulated = open_replay(compose(["replay.domains=[orbit, falling]", "replay.num_scenes=2"]).replay, framing)
    assert [scene.domain for scene in simulated.scenes()] == ["orbit", "falling"]


def test_pretraining_reads_all_of_its_domains() -> None:
    pretrain = compose(["pretrain.num_scenes=7"]).pretrain
    assert {scene.domain for scene in open_pretraining(pretrain, compose().data.framing).scenes()} == set(
        pretrain.domains
    )


def test_a_path_is_opened_as_the_kind_of_data_it_holds(footage: Path, tmp_path: Path) -> None:
    config = compose(["data.num_frames=5", "data.stride=5", "replay.domains=[orbit]", "replay.num_scenes=1"])
    (tmp_path / "shards").mkdir()
    write_tar(tmp_path / "shards" / "x-0.tar", [("a", clip_members(small_clip("a"), {}))])
    paths = {
        footage / "street": ["video-0000", "video-0001"],
        footage / "street" / "video.mp4": ["video-0000", "video-0001"],
        tmp_path / "shards": ["a"],
        tmp_path / "shards" / "x-0.tar": ["a"],
        Path("simulated"): ["sim-orbit-000000"],
    }
    for path, clip_ids in paths.items():
        source = open_path(path, config.data, config.replay)
        assert [scene.clip_id for scene in source.scenes()] == clip_ids
        assert source.skipped == ()
    (tmp_path / "v1.0-mini").mkdir()
    with pytest.raises(UserError, match="holds nuScenes tables; they can only be read with data=nuscenes"):
        open_path(tmp_path, config.data, config.replay)
    data = compose(["data=nuscenes", "data.root=elsewhere", "data.version=v1.0-test"]).data
    with pytest.raises(UserError, match=r"has no tables v1\.0-test; it has v1\.0-mini"):
        open_path(tmp_path, data, config.replay)


def test_evaluation_splits_are_neither_trained_on_nor_generated_from() -> None:
    scenes = [
        small_scene(f"s-{split}", split=split) for split in ("train", "", "val", "mini_val", "test", "mini_train")
    ]
    assert training_indices(scenes) == generation_indices(scenes, "train") == [0, 1, 5]
    assert evaluation_indices(scenes) == generation_indices(scenes, "evaluation") == [2, 3, 4]
    assert generation_indices(scenes, "all") == [0, 1, 2, 3, 4, 5]
    with pytest.raises(UserError, match="source_split=train selects none of 1 scenes, whose split is val"):
        generation_indices(scenes[2:3], "train")
