"""The endless sequence of simulated clips that pretraining renders. Imports no torch, for the renderer processes."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.domains import is_driving
from driveforge.datasets.scene import Scene
from driveforge.datasets.simulated_source import SimulationConfig, simulate_world, simulated_scene
from driveforge.datasets.simulation.renderer import Renderer
from driveforge.datasets.simulation.rigs import mount_cameras, randomize_cameras

# Textures, simulation and meshes of a driving world take a third of the time of a clip, so each is filmed twice.
CAMERAS_PER_DRIVING_WORLD = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipStream:
    """Worlds of a simulation, numbered from 0; the domains take turns."""

    config: SimulationConfig

    def film(self, world: int) -> Iterator[tuple[Scene, NDArray[np.uint8]]]:
        """Scene and frames ``(T, H, W, 3)`` uint8 of each camera of a world, a function of its number."""
        index, position = divmod(world, len(self.config.domains))
        domain = self.config.domains[position]
        scene = simulated_scene(self.config, domain, index)
        renderer = Renderer(simulate_world(self.config, domain, index))
        for number in range(CAMERAS_PER_DRIVING_WORLD if is_driving(domain) else 1):
            filmed = scene if number == 0 else _with_another_camera(scene, self.config, world, number)
            camera = filmed.cameras[0]
            yield filmed, np.stack([renderer.render(t, camera) for t in range(scene.num_frames)])


def _with_another_camera(scene: Scene, config: SimulationConfig, world: int, number: int) -> Scene:
    rng = np.random.default_rng((config.seed, world, number))
    mounted = mount_cameras(config.cameras, config.height, config.width)
    return replace(scene, cameras=randomize_cameras(mounted, rng))
