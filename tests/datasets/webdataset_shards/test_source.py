import json
from dataclasses import asdict
from pathlib import Path

import pytest
from webdataset import TarWriter

from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Clip
from driveforge.datasets.webdataset_shards.format import clip_members
from driveforge.datasets.webdataset_shards.index import INDEX_VERSION, Index, ShardEntry
from driveforge.datasets.webdataset_shards.source import ShardSource
from tests.datasets.small_clips import assert_same_scene, bare_clip, small_clip


def put_shard(path: Path, *clips: Clip) -> Path:
    with TarWriter(str(path), encoder=False) as tar:
        for clip in clips:
            tar.write({"__key__": clip.scene.clip_id, **clip_members(clip, {"seed": 3})})
    return path


def put_index(root: Path, *names: str) -> None:
    shards = [
        ShardEntry(
            name=n, split="train", num_bytes=(root / n).stat().st_size, sha256="", num_samples=1, keys=("drive-2",)
        )
        for n in names
    ]
    index = Index(
        schema_version=INDEX_VERSION,
        generator="driveforge",
        name="clips",
        num_samples=len(names),
        num_bytes=sum(shard.num_bytes for shard in shards),
        splits={"train": len(names)},
        files={},
        shards=tuple(shards),
    )
    (root / "index.json").write_text(json.dumps(asdict(index)))


def test_clips_are_read_from_every_tar_of_a_folder(tmp_path: Path) -> None:
    clips = [small_clip("drive-1"), small_clip("drive-2", seed=5), bare_clip()]
    put_shard(tmp_path / "a.tar", *clips[:2])
    put_shard(tmp_path / "b.tar", clips[2])
    source = ShardSource(tmp_path)
    assert len(source) == 3
    for scene, clip in zip(source.scenes(), clips, strict=True):
        assert_same_scene(scene, clip.scene)
        assert abs(source.load(scene).frames.astype(float) - clip.frames).mean() < 4
        assert source.metadata(scene.clip_id) == {"seed": 3}
    with pytest.raises(UserError, match="no clip 'other'"):
        source.load(small_clip("other").scene)


def test_only_shards_of_the_index_are_read(tmp_path: Path) -> None:
    put_shard(tmp_path / "old.tar", small_clip("drive-1"))
    put_shard(tmp_path / "new.tar", small_clip("drive-2"))
    put_index(tmp_path, "new.tar")
    assert [scene.clip_id for scene in ShardSource(tmp_path).scenes()] == ["drive-2"]


def test_a_shard_truncated_between_members_is_found_by_the_index(tmp_path: Path) -> None:
    path = put_shard(tmp_path / "a.tar", small_clip("drive-1"), small_clip("drive-2"))
    put_index(tmp_path, "a.tar")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=r"a\.tar: the shard is missing or truncated"):
        ShardSource(tmp_path)
    path.unlink()
    with pytest.raises(UserError, match=r"a\.tar: the shard is missing"):
        ShardSource(tmp_path)


def test_invalid_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"neither index\.json nor"):
        ShardSource(tmp_path)
    for index in ("{", "[]", '{"shards": [{}]}'):
        (tmp_path / "index.json").write_text(index)
        with pytest.raises(UserError, match=r"index\.json"):
            ShardSource(tmp_path)
    (tmp_path / "index.json").unlink()
    put_shard(tmp_path / "a.tar", small_clip())
    put_shard(tmp_path / "b.tar", small_clip())
    with pytest.raises(UserError, match=r"drive-1 is in .*a\.tar and in .*b\.tar"):
        ShardSource(tmp_path)
