"""ClipGT folders as other tools write them, with pandas, and changes to their tables."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

# A lens of 120 degrees over 3848 px: the angle is proportional to the distance.
WIDE = {
    "Model": "ftheta",
    "cx": "1923.5",
    "cy": "1083.5",
    "width": "3848",
    "height": "2168",
    "polynomial": f"0 {np.radians(120) / 3848!r} 0 0 0",
    "polynomial-type": "pixeldistance-to-angle",
}
FISHEYE = WIDE | {"polynomial": f"0 {np.radians(200) / 3848!r} 0 0 0"}


def sensor(name: str, properties: dict[str, str], yaw_deg: float = 0.0) -> dict[str, Any]:
    return {
        "name": name,
        "properties": properties,
        "nominalSensor2Rig_FLU": {"t": [1.7, 0.0, 1.4], "roll-pitch-yaw": [0.0, 0.0, yaw_deg - 1.0]},
        "correction_sensor_R_FLU": {"roll-pitch-yaw": [0.0, 0.0, 1.0]},
        "correction_rig_T": [0.1, 0.0, 0.0],
    }


def write_foreign_clip(folder: Path, clip_id: str = "1ea7dc88-88ed", seconds: float = 4.0) -> Path:
    """A straight drive at 10 m/s with labels at 10 Hz, a car 20 m ahead of the start that drives as fast, and lines."""
    times = 1_000_000 + np.arange(0, int(seconds * 1e6) + 1, 100_000)
    folder.mkdir(parents=True, exist_ok=True)
    rig = [
        sensor("camera:front:wide:120fov", WIDE),
        sensor("camera:rear:fisheye:200fov", FISHEYE, 180.0),
        {"name": "imu", "properties": {}},
    ]
    still = dict(zip("xyzw", (0.0, 0.0, 0.0, 1.0), strict=True))
    tables = {
        "calibration_estimate": [{"name": "RIG", "rig_json": json.dumps({"rig": {"sensors": rig}})}],
        "egomotion_estimate": [
            {"name": "deepmap", "location": point(10.0 * (t - times[0]) / 1e6, 0.0, 0.0), "orientation": still}
            for t in times
        ],
        "obstacle": [
            {
                "trackline_id": "7",
                "center": point(20.0 + 10.0 * (t - times[0]) / 1e6, 1.0, 0.8),
                "size": point(4.5, 1.9, 1.6),
                "orientation": still,
                "category": "Automobile",
            }
            for t in times
        ],
        "lane_line": [
            {"line_rail": [point(0, 2, 0), point(90, 2, 0)], "styles": ["DASHED_SINGLE"] * 2, "colors": ["WHITE"] * 2},
            {"line_rail": [point(0, 9, 0), point(90, 9, 0)], "styles": ["VIRTUAL"] * 2, "colors": ["WHITE"] * 2},
        ],
        "road_boundary": [{"category": "tall_curb", "location": [point(0, -4, 0), point(90, -4, 0)]}],
        "crosswalk": [{"category": "PEDESTRIAN", "location": [point(30, -4, 0), point(33, -4, 0), point(33, 4, 0)]}],
    }
    for name, values in tables.items():
        keys = times.tolist() if len(values) == len(times) else [-1] * len(values)
        rows = [
            {"key": {"clip_id": clip_id, "timestamp_micros": key}, name: value, "version": 1}
            for key, value in zip(keys, values, strict=True)
        ]
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{clip_id}.{name}.parquet")
    return folder


def point(x: float, y: float, z: float) -> dict[str, float]:
    return {"x": float(x), "y": float(y), "z": float(z)}


def change_rows(path: Path, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    """Rewrite a table after ``change`` to its rows."""
    rows = pq.read_table(path).to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows), path)
