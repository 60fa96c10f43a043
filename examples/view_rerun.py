"""Write exported clips as Rerun recordings: python examples/view_rerun.py runs/NAME/shards FOLDER [CLIP ...].

It needs `rerun-sdk==0.41.*`, whose NumPy 2 nuscenes-devkit does not take: use an environment of its own. Each clip
becomes FOLDER/<clip>.rrd: the cameras with their videos at their poses, the ego path, the boxes, speed and yaw rate
over time, and the verdict with every measure. `rerun FOLDER/<clip>.rrd` shows it.
"""

import io
import json
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import rerun as rr


def main() -> None:
    shards, folder, chosen = Path(sys.argv[1]), Path(sys.argv[2]), set(sys.argv[3:])
    folder.mkdir(parents=True, exist_ok=True)
    for clip_id, members in read_samples(shards):
        if not chosen or clip_id in chosen:
            write_recording(clip_id, members, folder / f"{clip_id}.rrd")


def read_samples(shards: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The members of every sample, which are consecutive in their shard."""
    for shard in json.loads((shards / "index.json").read_bytes())["shards"]:
        samples: dict[str, dict[str, bytes]] = {}
        with tarfile.open(shards / shard["name"]) as tar:
            for entry in tar:
                key, _, member = entry.name.partition(".")
                samples.setdefault(key, {})[member] = tar.extractfile(entry).read()
        yield from samples.items()


def write_recording(clip_id: str, members: dict[str, bytes], path: Path) -> None:
    record = json.loads(members["json"])
    tracks, motion = (np.load(io.BytesIO(members[name])) for name in ("tracks.npz", "ego_motion.npz"))
    poses, times = np.load(io.BytesIO(members["poses.npy"])), np.array(record["timestamps"])
    recording = rr.RecordingStream("driveforge", recording_id=clip_id)
    recording.save(path)
    recording.log("/", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
    recording.log("verdict", rr.TextDocument(describe(record), media_type="text/markdown"), static=True)
    for camera in record["cameras"]:
        log_video(recording, camera, members[camera["member"]], times)
    if len(poses):
        recording.log("world/ego_path", rr.LineStrips3D([poses[:, :3, 3]]), static=True)
    for t, seconds in enumerate(times):
        recording.set_time("time", duration=float(seconds))
        recording.set_time("frame", sequence=t)
        for name in ("speed", "yaw_rate"):
            if np.isfinite(motion[name][t]):
                recording.log(f"motion/{name}", rr.Scalars(float(motion[name][t])))
        if len(poses):
            log_cameras(recording, record, poses[t], t)
            log_boxes(recording, tracks, t)


def describe(record: dict) -> str:
    """The verdict, and the measures as a table."""
    metadata = record["metadata"]
    verdict, measures = metadata["verdict"], json.loads(metadata.get("measures", "{}")).get("values", [])
    rows = [f"| {m['name']} | {m['value']:.3g} {m['unit']} |" for m in measures if m["value"] is not None]
    title = f"{verdict['state']}, score {verdict['score']:.2f} of {verdict['limit']:.2f}"
    return "\n".join([f"# {title}", f"edit {metadata['edit']}", "", "| measure | value |", "| --- | --- |", *rows])


def log_video(recording: rr.RecordingStream, camera: dict, video: bytes, times: np.ndarray) -> None:
    entity = f"world/ego/{camera['name']}/image"
    asset = rr.AssetVideo(contents=video, media_type="video/mp4")
    recording.log(entity, asset, static=True)
    stamps = asset.read_frame_timestamps_nanos()
    indexes = [
        rr.TimeColumn("time", duration=times[: len(stamps)]),
        rr.TimeColumn("frame", sequence=np.arange(len(stamps))),
    ]
    recording.send_columns(entity, indexes, rr.VideoFrameReference.columns_nanos(stamps))


def log_cameras(recording: rr.RecordingStream, record: dict, ego_to_world: np.ndarray, t: int) -> None:
    recording.log("world/ego", rr.Transform3D(translation=ego_to_world[:3, 3], mat3x3=ego_to_world[:3, :3]))
    for camera in record["cameras"]:
        if not camera["intrinsics"] or not camera["camera_to_ego"]:
            continue
        pose, size = np.array(camera["camera_to_ego"][t]), [camera["width"], camera["height"]]
        entity = f"world/ego/{camera['name']}"
        recording.log(entity, rr.Transform3D(translation=pose[:3, 3], mat3x3=pose[:3, :3]))
        recording.log(f"{entity}/image", rr.Pinhole(image_from_camera=camera["intrinsics"], resolution=size))


def log_boxes(recording: rr.RecordingStream, tracks: np.lib.npyio.NpzFile, t: int) -> None:
    chosen = np.flatnonzero(tracks["present"][:, t])
    poses = tracks["box_to_world"][chosen, t]
    recording.log(
        "world/boxes",
        rr.Boxes3D(
            centers=poses[:, :3, 3],
            half_sizes=tracks["sizes"][chosen] / 2,
            quaternions=[to_quaternion(pose[:3, :3]) for pose in poses],
            labels=[str(category).rpartition(".")[2] for category in tracks["categories"][chosen]],
        ),
    )


def to_quaternion(rotation: np.ndarray) -> list[float]:
    """x, y, z, w of a rotation matrix: the eigenvector of the largest eigenvalue of K (Bar-Itzhack 2000)."""
    r = rotation
    k = np.array(
        [
            [r[0, 0] - r[1, 1] - r[2, 2], 0, 0, 0],
            [r[1, 0] + r[0, 1], r[1, 1] - r[0, 0] - r[2, 2], 0, 0],
            [r[2, 0] + r[0, 2], r[2, 1] + r[1, 2], r[2, 2] - r[0, 0] - r[1, 1], 0],
            [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], np.trace(r)],
        ]
    )
    return list(np.linalg.eigh(k / 3, "L")[1][:, -1])


if __name__ == "__main__":
    main()
