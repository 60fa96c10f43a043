"""Writing of episodes as a LeRobot data set."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import write_atomic
from driveforge.datasets.lerobot.motion import actions, states
from driveforge.datasets.lerobot.statistics import Stats, count_levels, image_stats, sample_frames, vector_stats
from driveforge.datasets.lerobot.tables import (
    ACTION,
    FRAME_SCHEMA,
    STATE,
    episodes_table,
    frame_table,
    parquet_bytes,
    tasks_table,
    vector_features,
)
from driveforge.datasets.remux import Part, decoder_settings, join_videos
from driveforge.datasets.scene import Scene
from driveforge.datasets.video import decode_mp4

CODEBASE_VERSION = "v3.0"
# LeRobot's default; the videos of an episode that does not fit start a new file.
MAX_VIDEO_BYTES = 200 * 2**20
_CHUNK_SIZE, _DATA_FILE_MB = 1000, 100
_DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
_EPISODES_PATH = "meta/episodes/chunk-000/file-000.parquet"
# The task of a clip without a caption, since LeRobot needs one.
_NO_CAPTION = "drive"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Episode:
    """A clip: its scene without held frames, and ``video``, which loads the MP4 of a camera by its name."""

    scene: Scene
    video: Callable[[str], bytes] = field(repr=False)

    @property
    def split(self) -> str:
        return self.scene.split or "train"


def write_lerobot(folder: Path, episodes: Sequence[Episode], frame_rate: float) -> None:
    """Write ``episodes`` to ``folder``, ordered by split, since LeRobot's splits are ranges of episodes.

    All have an ego pose, two frames or more, and the same cameras and image sizes. Frame n of an episode gets the
    time n / ``frame_rate`` s, as the format demands. Video packets are copied. The same episodes give the same bytes.
    """
    episodes = sorted(episodes, key=lambda episode: (episode.split, episode.scene.clip_id))
    tasks = list(dict.fromkeys(_task(episode) for episode in episodes))
    starts = np.cumsum([0, *(episode.scene.num_frames for episode in episodes)]).tolist()
    columns = [
        _columns(episode, number, starts[number], tasks.index(_task(episode)), frame_rate)
        for number, episode in enumerate(episodes)
    ]
    rows = [
        {
            "episode_index": number,
            "tasks": [_task(episode)],
            "length": episode.scene.num_frames,
            "data/chunk_index": 0,
            "data/file_index": 0,
            "dataset_from_index": starts[number],
            "dataset_to_index": starts[number + 1],
            "meta/episodes/chunk_index": 0,
            "meta/episodes/file_index": 0,
        }
        for number, episode in enumerate(episodes)
    ]
    stats: dict[str, Stats] = {
        name: vector_stats(np.concatenate([_as_rows(values[name]) for values in columns]))
        for name in FRAME_SCHEMA.names
    }
    for row, values in zip(rows, columns, strict=True):
        _add_stats(row, {name: vector_stats(_as_rows(values[name])) for name in FRAME_SCHEMA.names})
    features = vector_features()
    for camera in episodes[0].scene.cameras:
        key = f"observation.images.{camera.name.lower()}"
        features[key] = _video_feature(camera.width, camera.height, frame_rate)
        stats[key] = _write_camera(folder, key, camera.name, episodes, rows, frame_rate)
    data = parquet_bytes([frame_table(values) for values in columns])
    write_atomic(folder / _DATA_PATH.format(chunk_index=0, file_index=0), data)
    write_atomic(folder / _EPISODES_PATH, parquet_bytes([episodes_table(rows)]))
    write_atomic(folder / "meta/tasks.parquet", parquet_bytes([tasks_table(tasks)]))
    write_atomic(folder / "meta/stats.json", _json(stats))
    write_atomic(folder / "meta/info.json", _json(_info(episodes, features, tasks, frame_rate)))


def _task(episode: Episode) -> str:
    return episode.scene.caption.strip() or _NO_CAPTION


def _columns(episode: Episode, number: int, start: int, task: int, frame_rate: float) -> dict[str, NDArray[Any]]:
    scene = episode.scene
    assert scene.ego_to_world is not None
    frames = np.arange(scene.num_frames)
    return {
        STATE: states(scene).astype(np.float32),
        ACTION: actions(scene.ego_to_world).astype(np.float32),
        "timestamp": (frames / frame_rate).astype(np.float32),
        "frame_index": frames,
        "episode_index": np.full(len(frames), number),
        "index": start + frames,
        "task_index": np.full(len(frames), task),
    }


def _write_camera(
    folder: Path, key: str, camera: str, episodes: Sequence[Episode], rows: Sequence[dict[str, Any]], frame_rate: float
) -> Stats:
    """Write the videos of one camera, add their places to ``rows``, and return the statistics of all its images."""
    total, num_sampled = np.zeros((3, 256), np.int64), 0
    for number, group in enumerate(_groups(camera, episodes)):
        chunk, file = divmod(number, _CHUNK_SIZE)
        path = _VIDEO_PATH.format(video_key=key, chunk_index=chunk, file_index=file)
        write_atomic(folder / path, join_videos([part for _, part in group], frame_rate))
        shown = 0
        for episode, part in group:
            levels, count = _sampled_levels(part)
            total, num_sampled = total + levels, num_sampled + count
            rows[episode] |= {
                f"videos/{key}/chunk_index": chunk,
                f"videos/{key}/file_index": file,
                f"videos/{key}/from_timestamp": shown / frame_rate,
                f"videos/{key}/to_timestamp": (shown + part.num_frames) / frame_rate,
            }
            _add_stats(rows[episode], {key: image_stats(levels, count)})
            shown += part.num_frames
    return image_stats(total, num_sampled)


def _groups(camera: str, episodes: Sequence[Episode]) -> Iterator[list[tuple[int, Part]]]:
    """Consecutive episodes whose videos of ``camera`` can be one file, each with its number."""
    group: list[tuple[int, Part]] = []
    settings, num_bytes = b"", 0
    for number, episode in enumerate(episodes):
        name = f"{episode.scene.clip_id}: video of {camera}"
        part = Part(video=episode.video(camera), num_frames=episode.scene.num_frames, name=name)
        found = decoder_settings(part.video, name)
        if group and (found != settings or num_bytes + len(part.video) > MAX_VIDEO_BYTES):
            yield group
            group, num_bytes = [], 0
        settings, num_bytes = found, num_bytes + len(part.video)
        group.append((number, part))
    yield group


def _sampled_levels(part: Part) -> tuple[NDArray[np.int64], int]:
    frames, _ = decode_mp4(part.video, part.name)
    if len(frames) < part.num_frames:
        raise UserError(f"{part.name}: has {len(frames)} frames, but its description says {part.num_frames}")
    chosen = sample_frames(part.num_frames)
    return count_levels(frames[chosen]), len(chosen)


def _add_stats(row: dict[str, Any], stats: dict[str, Stats]) -> None:
    row |= {f"stats/{name}/{key}": value for name, entry in stats.items() for key, value in entry.items()}


def _as_rows(values: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(values, np.float64).reshape(len(values), -1)


def _video_feature(width: int, height: int, frame_rate: float) -> dict[str, Any]:
    details = {
        "video.height": height, "video.width": width, "video.codec": "h264", "video.pix_fmt": "yuv420p",
        "video.is_depth_map": False, "video.fps": _whole(frame_rate), "video.channels": 3, "has_audio": False,
    }  # fmt: skip
    names = ["height", "width", "channels"]
    return {"dtype": "video", "shape": [height, width, 3], "names": names, "info": details}


def _info(
    episodes: Sequence[Episode], features: dict[str, Any], tasks: Sequence[str], frame_rate: float
) -> dict[str, Any]:
    splits = [episode.split for episode in episodes]
    return {
        "codebase_version": CODEBASE_VERSION,
        "robot_type": "car",
        "total_episodes": len(episodes),
        "total_frames": sum(episode.scene.num_frames for episode in episodes),
        "total_tasks": len(tasks),
        "chunks_size": _CHUNK_SIZE,
        "data_files_size_in_mb": _DATA_FILE_MB,
        "video_files_size_in_mb": MAX_VIDEO_BYTES // 2**20,
        "fps": _whole(frame_rate),
        "splits": {
            name: f"{splits.index(name)}:{splits.index(name) + splits.count(name)}" for name in dict.fromkeys(splits)
        },
        "data_path": _DATA_PATH,
        "video_path": _VIDEO_PATH,
        "features": features,
    }


def _whole(rate: float) -> float | int:
    """Whole rates as integers, which is what LeRobot writes."""
    return int(rate) if rate == int(rate) else rate


def _json(record: dict[str, Any]) -> bytes:
    return json.dumps(record, indent=4, ensure_ascii=False, allow_nan=False).encode() + b"\n"
