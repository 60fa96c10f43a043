"""The info file of a detector from an export in nuScenes format, as create_data of StreamPETR and BEVFusion writes it.

    driveforge export export.format=nuscenes run_dir=runs/demo
    python examples/nuscenes_infos.py runs/demo/nuscenes v1.0-trainval infos.json

Needs only nuscenes-devkit and numpy. Unlike create_data, it reads splits.json, takes the cameras that a sample has, and
writes JSON instead of pickle.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from nuscenes.nuscenes import NuScenes
from nuscenes.utils.geometry_utils import transform_matrix
from pyquaternion import Quaternion

MAX_SWEEPS = 10
Info = dict[str, Any]


def main(root: str, version: str, out: str) -> None:
    nusc = NuScenes(version, dataroot=root, verbose=False)
    scenes = json.loads((Path(root) / version / "splits.json").read_text())
    split_of = {name: split for split in ("train", "val") for name in scenes.get(split, [])}
    infos: dict[str, list[Info]] = {"train": [], "val": []}
    for sample in nusc.sample:
        name = nusc.get("scene", sample["scene_token"])["name"]
        if name in split_of:
            infos[split_of[name]].append(sample_info(nusc, sample))
    Path(out).write_text(json.dumps(infos))
    left = len(nusc.sample) - len(infos["train"]) - len(infos["val"])
    print(f"{len(infos['train'])} train samples, {len(infos['val'])} val samples, {left} of other splits or none")


def sample_info(nusc: NuScenes, sample: Info) -> Info:
    lidar = sample["data"]["LIDAR_TOP"]
    cameras = {channel: token for channel, token in sample["data"].items() if channel.startswith("CAM")}
    return {
        "token": sample["token"],
        "timestamp": sample["timestamp"],
        "scene_token": sample["scene_token"],
        "lidar_path": file_path(nusc, lidar),
        "lidar2global": sensor_to_global(nusc, lidar).tolist(),
        "sweeps": lidar_sweeps(nusc, lidar),
        "cams": {channel: sensor_info(nusc, token, lidar) for channel, token in cameras.items()},
        **box_info(nusc, sample, lidar),
    }


def sensor_info(nusc: NuScenes, token: str, lidar: str) -> Info:
    """``sensor2lidar`` (4, 4) includes the ego motion between both times; ``cam_intrinsic`` (3, 3) is in pixels."""
    row = nusc.get("sample_data", token)
    sensor_to_lidar = np.linalg.inv(sensor_to_global(nusc, lidar)) @ sensor_to_global(nusc, token)
    return {
        "data_path": file_path(nusc, token),
        "timestamp": row["timestamp"],
        "sensor2lidar": sensor_to_lidar.tolist(),
        "cam_intrinsic": nusc.get("calibrated_sensor", row["calibrated_sensor_token"])["camera_intrinsic"],
    }


def lidar_sweeps(nusc: NuScenes, lidar: str) -> list[Info]:
    """The measurements before a key frame, the latest first."""
    sweeps: list[Info] = []
    token = lidar
    while (token := nusc.get("sample_data", token)["prev"]) and len(sweeps) < MAX_SWEEPS:
        sweeps.append(sensor_info(nusc, token, lidar))
    return sweeps


def box_info(nusc: NuScenes, sample: Info, lidar: str) -> Info:
    """``gt_boxes`` are x, y, z, length, width, height (m) and yaw in the lidar frame, ``gt_velocity`` x, y (m/s)."""
    _, boxes, _ = nusc.get_sample_data(lidar)
    rows = [nusc.get("sample_annotation", box.token) for box in boxes]
    velocity = np.array([nusc.box_velocity(box.token) for box in boxes]).reshape(-1, 3)
    to_global = sensor_to_global(nusc, lidar)[:3, :3]
    return {
        "gt_boxes": [[*box.center, *box.wlh[[1, 0, 2]], box.orientation.yaw_pitch_roll[0]] for box in boxes],
        "gt_names": [box.name for box in boxes],
        "gt_velocity": np.nan_to_num(velocity @ to_global)[:, :2].tolist(),
        "num_lidar_pts": [row["num_lidar_pts"] for row in rows],
        "valid_flag": [row["num_lidar_pts"] + row["num_radar_pts"] > 0 for row in rows],
    }


def sensor_to_global(nusc: NuScenes, token: str) -> np.ndarray:
    """Pose (4, 4) of a sensor at the time of its sample_data, in meters."""
    row = nusc.get("sample_data", token)
    tables = {"ego_pose": row["ego_pose_token"], "calibrated_sensor": row["calibrated_sensor_token"]}
    poses = [nusc.get(table, token) for table, token in tables.items()]
    ego_to_global, sensor_to_ego = (transform_matrix(p["translation"], Quaternion(p["rotation"])) for p in poses)
    return ego_to_global @ sensor_to_ego


def file_path(nusc: NuScenes, token: str) -> str:
    path = nusc.get_sample_data_path(token)
    assert Path(path).is_file(), f"{path} is missing"
    return path


if __name__ == "__main__":
    main(*sys.argv[1:])
