"""The layout of LeRobot v3.0, checked by what its loader does with the files.

The steps are those of huggingface/lerobot at 7427f31: ``load_info``, ``load_tasks``, ``load_episodes``,
``get_video_file_path`` and ``_query_videos``. The library itself is not run.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.lerobot.writer import Episode, write_lerobot
from driveforge.datasets.scene import Clip
from driveforge.datasets.video import decode_mp4, encode_mp4
from tests.datasets.small_clips import small_clip

CAMERAS = ("CAM_FRONT", "CAM_BACK")


def episode(clip: Clip, frame_rate: float = 10.0, crf: int = 18) -> Episode:
    return Episode(scene=clip.scene, video=lambda name: encode_mp4(clip.view(name), frame_rate, crf=crf))


@pytest.fixture
def clips() -> list[Clip]:
    """In the order of the episodes: by split, then by id."""
    clips = [small_clip(f"c-{n}", seed=n, num_frames=5 + 4 * n, cameras=CAMERAS) for n in range(3)]
    return [clips[1], clips[2].with_scene(caption="rain"), clips[0].with_scene(split="val", caption="")]


@pytest.fixture
def folder(tmp_path: Path, clips: list[Clip]) -> Path:
    write_lerobot(tmp_path / "set", [episode(clip) for clip in reversed(clips)], 10.0)
    return tmp_path / "set"


def load_json(path: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(path.read_text())
    return record


def test_the_metadata_is_what_the_loader_expects(folder: Path) -> None:
    info = load_json(folder / "meta/info.json")
    known = {
        "codebase_version", "fps", "features", "total_episodes", "total_frames", "total_tasks", "chunks_size",
        "data_files_size_in_mb", "video_files_size_in_mb", "data_path", "video_path", "robot_type", "splits",
    }  # fmt: skip
    assert info.keys() == known
    assert (info["codebase_version"], info["fps"], info["total_episodes"], info["total_frames"]) == ("v3.0", 10, 3, 27)
    assert isinstance(info["fps"], int)
    assert info["splits"] == {"train": "0:2", "val": "2:3"}
    tasks = pd.read_parquet(folder / "meta/tasks.parquet")
    assert [tasks.iloc[n].name for n in range(info["total_tasks"])] == ["eine Straße, daytime", "rain", "drive"]
    assert tasks.loc["rain"].task_index == 1
    defaults = {"timestamp", "frame_index", "episode_index", "index", "task_index"}
    images = {"observation.images.cam_front", "observation.images.cam_back"}
    assert info["features"].keys() == {*defaults, *images, "observation.state", "action"}
    assert load_json(folder / "meta/stats.json").keys() == info["features"].keys()
    assert all({"dtype", "shape", "names"} <= feature.keys() for feature in info["features"].values())
    assert not any("/" in name for name in info["features"])


def test_rows_are_where_the_episodes_say(folder: Path, clips: list[Clip]) -> None:
    info = load_json(folder / "meta/info.json")
    episodes = pq.read_table(folder / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [row["length"] for row in episodes] == [9, 13, 5]
    data = folder / info["data_path"].format(chunk_index=0, file_index=0)
    table = pq.read_table(data)
    assert pq.read_metadata(data).num_row_groups == 3
    for number, (row, clip) in enumerate(zip(episodes, clips, strict=True)):
        assert row["episode_index"] == number
        rows = table.slice(row["dataset_from_index"], row["dataset_to_index"] - row["dataset_from_index"])
        length = clip.scene.num_frames
        assert rows["frame_index"].to_pylist() == list(range(length)) and set(rows["episode_index"].to_pylist()) == {
            number
        }
        np.testing.assert_allclose(rows["timestamp"].to_numpy(), np.arange(length) / 10, atol=1e-6)
        assert rows["task_index"].to_pylist() == [number] * length
    assert table["index"].to_pylist() == list(range(27))
    for name in ("observation.state", "action"):
        assert table.schema.field(name).type.list_size == info["features"][name]["shape"][0]


def test_frames_at_the_times_of_an_episode_are_those_of_its_clip(folder: Path, clips: list[Clip]) -> None:
    info = load_json(folder / "meta/info.json")
    episodes = pq.read_table(folder / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    for row, clip in zip(episodes, clips, strict=True):
        for camera in CAMERAS:
            key = f"observation.images.{camera.lower()}"
            place = {name: row[f"videos/{key}/{name}"] for name in ("chunk_index", "file_index")}
            frames, times = decode_mp4(folder / info["video_path"].format(video_key=key, **place))
            expected, _ = decode_mp4(encode_mp4(clip.view(camera), 10.0))
            for frame, image in enumerate(expected):
                wanted = row[f"videos/{key}/from_timestamp"] + frame / info["fps"]
                nearest = int(np.abs(times - wanted).argmin())
                assert abs(times[nearest] - wanted) < 1e-4  # the loader's tolerance
                assert (frames[nearest] == image).all()
            assert list(frames.shape[1:]) == info["features"][key]["shape"]


def test_videos_of_other_encoders_settings_start_a_new_file(tmp_path: Path, clips: list[Clip]) -> None:
    """Parameter sets of x264 depend on the frame rate of the encoder."""
    episodes = [episode(clip, rate) for clip, rate in zip(clips, (10.0, 12.0, 12.0), strict=True)]
    write_lerobot(tmp_path, episodes, 10.0)
    rows = pq.read_table(tmp_path / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    key = "videos/observation.images.cam_front"
    assert [row[f"{key}/file_index"] for row in rows] == [0, 1, 1]
    assert [row[f"{key}/from_timestamp"] for row in rows] == pytest.approx([0.0, 0.0, 1.3])
    assert len(list((tmp_path / key).rglob("*.mp4"))) == 2


def test_statistics_are_those_of_the_data(folder: Path, clips: list[Clip]) -> None:
    stats = load_json(folder / "meta/stats.json")
    table = pq.read_table(folder / "data/chunk-000/file-000.parquet")
    values = np.array(table["observation.state"].to_pylist())
    for name, expected in {
        "min": values.min(0),
        "max": values.max(0),
        "mean": values.mean(0),
        "std": values.std(0),
    }.items():
        np.testing.assert_allclose(stats["observation.state"][name], expected, atol=1e-6)
    assert stats["observation.state"]["count"] == [27]
    images = stats["observation.images.cam_front"]
    assert {np.shape(images[name]) for name in images if name != "count"} == {(3, 1, 1)}
    sampled = [decode_mp4(encode_mp4(clip.view("CAM_FRONT"), 10.0))[0] for clip in clips]
    pixels = np.concatenate([frames[:10] for frames in sampled[::2]] + [sampled[1][[0, 1, 3, 4, 5, 7, 8, 9, 11, 12]]])
    pixels = pixels.reshape(-1, 3) / 255
    np.testing.assert_allclose(np.ravel(images["mean"]), pixels.mean(0), atol=1e-9)
    np.testing.assert_allclose(np.ravel(images["std"]), pixels.std(0), atol=1e-9)
    np.testing.assert_allclose(np.ravel(images["q50"]), np.median(pixels, 0), atol=1 / 255)
    np.testing.assert_allclose(np.ravel(images["min"]), pixels.min(0), atol=1e-9)
    row = pq.read_table(folder / "meta/episodes/chunk-000/file-000.parquet").to_pylist()[1]
    assert row["stats/action/count"] == [13] and np.shape(row["stats/observation.images.cam_back/mean"]) == (3, 1, 1)


def test_the_same_episodes_give_the_same_bytes(tmp_path: Path, clips: list[Clip]) -> None:
    for name, ordered in (("a", clips), ("b", clips[::-1])):
        write_lerobot(tmp_path / name, [episode(clip) for clip in ordered], 10.0)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert len(files) == 7
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files)


def test_a_video_that_is_too_short_is_named(tmp_path: Path, clips: list[Clip]) -> None:
    short = replace(episode(clips[0]), video=lambda name: encode_mp4(clips[0].view(name)[:5], 10.0))
    with pytest.raises(UserError, match="c-1: video of CAM_FRONT: has 5 frames, but its description says 9"):
        write_lerobot(tmp_path, [short], 10.0)
