"""Simulated clips without failures that the base checkpoint generates anew: scenarios, and windows of recorded drives.

Half of them are windows of long drives, stored as a data set stores them: larger, as JPEG, and reframed when loaded.
"""

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.domains import DRIVING_DOMAINS, weather_of
from driveforge.datasets.reframe import reframe_camera, reframe_frames
from driveforge.datasets.scene import Clip
from driveforge.datasets.select_frames import select_frames
from driveforge.datasets.simulated_source import SimulatedSource, SimulationConfig, simulated_scene
from driveforge.datasets.simulation.long_drive import simulate_drive

NUM_FRAMES, FRAME_RATE = 17, 10.0  # what the shipped model generates
HEIGHT, WIDTH = 96, 160
# Vehicles that pass close by fail most often.
CLOSE_SHARE = 0.35
RECORDED_SHARE = 0.5
DRIVE_SECONDS, RECORDED_HEIGHT, RECORDED_WIDTH = 12.0, 256, 448
_JPEG_OPTIONS = [cv2.IMWRITE_JPEG_QUALITY, 95]


def true_clip(number: int, seed: int, rng: np.random.Generator) -> Clip:
    """Simulated clip ``number``, (1, 17, 96, 160, 3): a scenario, or a window of a recorded drive."""
    domain = DRIVING_DOMAINS[number % len(DRIVING_DOMAINS)]
    make = _recorded_drive if rng.random() < RECORDED_SHARE else _scenario
    return make(number, domain, seed, rng)


def _scenario(number: int, domain: str, seed: int, rng: np.random.Generator) -> Clip:
    config = SimulationConfig(
        seed=seed,
        domains=DRIVING_DOMAINS,
        num_scenes=number + 1,
        height=HEIGHT,
        width=WIDTH,
        frame_rate=FRAME_RATE,
        num_frames=NUM_FRAMES,
        close_share=CLOSE_SHARE,
    )
    return SimulatedSource(config).load(simulated_scene(config, domain, number))


def _recorded_drive(number: int, domain: str, seed: int, rng: np.random.Generator) -> Clip:
    drive = simulate_drive(
        weather_of(domain),
        number,
        seed=seed,
        duration=DRIVE_SECONDS,
        height=RECORDED_HEIGHT,
        width=RECORDED_WIDTH,
        frame_rate=FRAME_RATE,
        cameras=("CAM_FRONT",),
    )
    frames = int(rng.integers(drive.scene.num_frames - NUM_FRAMES)) + np.arange(NUM_FRAMES)
    scene = select_frames(drive.scene, frames)
    (camera,) = scene.cameras
    images = np.stack([_as_jpeg(drive.image(camera.name, t)) for t in frames])
    return Clip(
        scene=replace(scene, cameras=(reframe_camera(camera, HEIGHT, WIDTH),)),
        frames=reframe_frames(images, HEIGHT, WIDTH)[None],
    )


def _as_jpeg(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    content = cv2.imencode(".jpg", image, _JPEG_OPTIONS)[1]
    return np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR), np.uint8)
