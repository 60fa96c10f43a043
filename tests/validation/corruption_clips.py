"""Clips to corrupt: a simulated one with two cameras, and ones whose pixels encode their position or frame."""

from dataclasses import replace
from functools import lru_cache

import numpy as np

from driveforge.datasets.conditioning.layout import render_layout
from driveforge.datasets.scene import Camera, Clip, Scene
from driveforge.datasets.scene_json import scene_to_json
from driveforge.datasets.simulated_source import SimulatedSource
from tests.defaults import simulation_config


@lru_cache
def simulated() -> Clip:
    """13 frames of a street in the simulated world with traffic and parked cars, from two cameras."""
    cameras = ("CAM_FRONT", "CAM_FRONT_LEFT")
    source = SimulatedSource(simulation_config(num_scenes=1, domains=("driving-day",), num_frames=13, cameras=cameras))
    return source.load(source.scenes()[0])


def bare(frames: np.ndarray) -> Clip:
    """Frames ``(T, H, W, 3)`` at 10 Hz, without pose and calibration."""
    camera = Camera(name="front", width=frames.shape[2], height=frames.shape[1])
    scene = Scene(clip_id="bare", domain="video", timestamps=np.arange(len(frames)) / 10, cameras=(camera,))
    return Clip(scene=scene, frames=frames[None])


def numbered(num_frames: int, first: int = 0) -> Clip:
    """Every frame is uniform; its gray level is its number."""
    levels = np.arange(first, first + num_frames, dtype=np.uint8)
    return bare(np.ascontiguousarray(np.broadcast_to(levels[:, None, None, None], (num_frames, 4, 6, 3))))


def numbers(clip: Clip) -> list[int]:
    return [int(level) for level in clip.frames[0, :, 0, 0, 0]]


def gray(level: int, num_frames: int = 17) -> Clip:
    return bare(np.full((num_frames, 96, 160, 3), level, np.uint8))


def ramps(num_frames: int = 17) -> Clip:
    """Red increases by one level per column and green by two per row, so that a pixel encodes its position."""
    columns, rows = np.meshgrid(np.arange(160), np.arange(96))
    image = np.stack([columns + 40, 2 * rows + 30, 0 * rows], -1).astype(np.uint8)
    return bare(np.repeat(image[None], num_frames, 0))


def laid_out(clip: Clip) -> Clip:
    """The scene of ``clip`` rendered with its boxes only, each in one color."""
    scene = replace(clip.scene, lanes=())
    return Clip(scene=scene, frames=np.stack([render_layout(scene, camera) for camera in scene.cameras]))


def content(clip: Clip) -> tuple[object, bytes]:
    return scene_to_json(clip.scene), clip.frames.tobytes()
