"""Long drives with several cameras, rendered one image at a time so that they can be streamed to disk."""

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.domains import driving_domain
from driveforge.datasets.scene import Scene
from driveforge.datasets.simulation.driving import build_driving_world
from driveforge.datasets.simulation.renderer import Renderer
from driveforge.datasets.simulation.rigs import CAMERA_MOUNTS, mount_cameras
from driveforge.datasets.simulation.world_to_scene import world_to_scene


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SimulatedDrive:
    """A simulated drive: its Scene and the renderer of its images."""

    scene: Scene
    renderer: Renderer

    def image(self, camera_name: str, t: int) -> NDArray[np.uint8]:
        """Frame ``(H, W, 3)`` uint8 RGB of one camera at time index ``t``; raises UserError for an unknown camera."""
        return self.renderer.render(t, self.scene.camera(camera_name))


def simulate_drive(
    variant: str, index: int, *, seed: int, duration: float, height: int, width: int, frame_rate: float = 20.0,
    cameras: tuple[str, ...] = tuple(CAMERA_MOUNTS),
) -> SimulatedDrive:  # fmt: skip
    """The ``index``-th drive of ``duration`` s in weather ``variant``: a pure function of its arguments.

    Traffic on a winding road slows down, changes lanes and yields to pedestrians. Image sizes are in pixels, the frame
    rate is in Hz.
    """
    timestamps = np.arange(round(duration * frame_rate) + 1) / frame_rate
    mixed = np.random.SeedSequence((seed, zlib.crc32(b"drive"), zlib.crc32(variant.encode()), index))
    world = build_driving_world(variant, "drive", int(mixed.generate_state(1)[0]), timestamps)
    scene = world_to_scene(world, mount_cameras(cameras, height, width), clip_id=f"sim-drive-{variant}-{index:04d}",
                     domain=driving_domain(variant), split="val" if index % 5 == 4 else "train")  # fmt: skip
    return SimulatedDrive(scene=scene, renderer=Renderer(world))
