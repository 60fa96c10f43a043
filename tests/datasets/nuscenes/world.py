"""A small hand-made scene of one second, written as nuScenes tables, and helpers to change and read them."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from driveforge.datasets.errors import MAX_LENGTH, UserError
from driveforge.datasets.framing import Framing
from driveforge.datasets.geometry import FORWARD_CAMERA_TO_EGO, pose, yaw_rotation
from driveforge.datasets.nuscenes.rows import key_frames
from driveforge.datasets.nuscenes.source import NuScenesSource
from driveforge.datasets.nuscenes.writer import NuScenesWriter
from driveforge.datasets.scene import Camera, Lane, Scene, Track

Rows = list[dict[str, Any]]
VERSION = "v1.0-mini"
HEIGHT, WIDTH = 64, 112
RATE, NUM_FRAMES = 10.0, 11
INTRINSICS = np.array([[90.0, 0, 55.5], [0, 90.0, 31.5], [0, 0, 1]])


def real_data() -> Path:
    """The folder of real footage; skips the test if there is none."""
    root = Path(os.environ.get("DRIVEFORGE_REAL_DATA", Path(__file__).parents[3] / ".." / "shared" / "data"))
    if not root.is_dir():
        pytest.skip(f"real footage is not at {root}; set DRIVEFORGE_REAL_DATA")
    return root


def camera(name: str, yaw: float, moving: bool = False) -> Camera:
    to_ego = pose(yaw_rotation(yaw), [1.2 * np.cos(yaw), 0.1, 1.5]) @ FORWARD_CAMERA_TO_EGO
    if moving:
        lag = pose(yaw_rotation(0.01 * np.arange(NUM_FRAMES) / NUM_FRAMES), [0.2, 0.0, 0.0])
        to_ego = lag @ to_ego
    return Camera(name=name, width=WIDTH, height=HEIGHT, intrinsics=INTRINSICS, camera_to_ego=to_ego)


def track(
    name: str,
    category: str,
    start: tuple[float, float],
    velocity: tuple[float, float],
    *,
    yaw_rate: float = 0.0,
    size: tuple[float, float, float] = (4.5, 1.9, 1.6),
    first: int = 0,
) -> Track:
    """A box on the ground that moves from ``start`` m at ``velocity`` m/s, present from frame ``first``."""
    seconds = np.arange(NUM_FRAMES) / RATE
    center = np.array([*start, size[2] / 2]) + seconds[:, None] * np.array([*velocity, 0.0])
    return Track(
        id=name,
        category=category,
        size=np.array(size),
        box_to_world=pose(yaw_rotation(yaw_rate * seconds + 0.1), center),
        present=np.arange(NUM_FRAMES) >= first,
    )


def small_scene(clip_id: str = "sim-0001", **changes: Any) -> Scene:
    """11 frames of a slight left turn: a car ahead, a turning truck behind, a pedestrian from frame 6."""
    seconds = np.arange(NUM_FRAMES) / RATE
    yaw = 0.3 * seconds
    position = np.stack([300 + 8 * np.sin(yaw) / 0.3, 200 + 8 * (1 - np.cos(yaw)) / 0.3, 0 * yaw], -1)
    values: dict[str, Any] = {
        "clip_id": clip_id,
        "domain": "driving-day",
        "caption": "small street, a car ahead",
        "timestamps": seconds,
        "ego_to_world": pose(yaw_rotation(yaw), position),
        "cameras": (camera("CAM_FRONT", 0.0), camera("CAM_BACK", np.pi)),
        "tracks": (
            track("car", "vehicle.car", (315, 201), (7.0, 1.0)),
            track("truck", "vehicle.truck", (285, 200), (8.0, 0.0), yaw_rate=0.4, size=(8.0, 2.5, 3.0)),
            track("walker", "human.pedestrian.adult", (318, 203), (0.0, 1.0), size=(0.6, 0.7, 1.8), first=6),
        ),
        "lanes": (
            Lane(kind="divider", points=np.array([[280.0, 202, 0], [340, 202, 0]])),
            Lane(kind="boundary", points=np.array([[280.0, 198, 0], [340, 198, 0]])),
            Lane(kind="crossing", points=np.array([[320.0, 198, 0], [323, 198, 0], [323, 206, 0], [320, 206, 0]])),
        ),
    }
    return Scene(**values | changes)


def small_frame(view: int, t: int) -> NDArray[np.uint8]:
    """A smooth image whose blue channel encodes view and frame."""
    v, u = np.meshgrid(np.arange(HEIGHT), np.arange(WIDTH), indexing="ij")
    blue = np.full_like(u, 20 + 10 * t + 120 * view)
    return np.stack([2 * u, 3 * v, blue], -1).astype(np.uint8)


def write_world(root: Path, *scenes: Scene, every: int = 5) -> Path:
    with NuScenesWriter(root, VERSION) as writer:
        for scene in scenes or (small_scene(),):
            writer.add_recording(scene, small_frame, keys=key_frames(scene.num_frames, every))
    return root


def edit_table(root: Path, table: str, change: Callable[[list[dict[str, Any]]], object]) -> str:
    """Change the rows of a table in place; returns the token of its first row."""
    path = root / VERSION / f"{table}.json"
    rows = json.loads(path.read_text())
    token = rows[0]["token"]
    change(rows)
    path.write_text(json.dumps(rows))
    return str(token)


def read_scenes(root: Path, framing: Framing | None = None, **options: Any) -> list[Scene]:
    return list(NuScenesSource(root, VERSION, framing, **options).scenes())


def read_error(root: Path, framing: Framing | None, **options: Any) -> str:
    """The one-line error of reading the first scene."""
    with pytest.raises(UserError) as raised:
        NuScenesSource(root, VERSION, framing, **options).scenes()[0]
    message = str(raised.value)
    assert "\n" not in message and len(message) <= MAX_LENGTH
    return message
