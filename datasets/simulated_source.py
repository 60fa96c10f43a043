"""A source of simulated clips: every clip is a pure function of (seed, domain, index)."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import overload

import numpy as np

from driveforge.datasets.domains import ALL_DOMAINS, OTHER_DOMAINS, weather_of
from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Camera, Clip, Scene
from driveforge.datasets.simulation.depth_and_instances import DepthAndInstances, render_depth_and_instances
from driveforge.datasets.simulation.driving import build_driving_world
from driveforge.datasets.simulation.other_domains import build_other_world
from driveforge.datasets.simulation.renderer import Renderer
from driveforge.datasets.simulation.rigs import free_camera, mount_cameras, randomize_cameras
from driveforge.datasets.simulation.scenarios import CLOSE_SCENARIOS, SCENARIOS
from driveforge.datasets.simulation.world import World
from driveforge.datasets.simulation.world_to_scene import world_to_scene

_VAL_EVERY = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulationConfig:
    """``num_scenes`` clips per domain; ``cameras`` are those of driving domains, the other domains have one camera.

    Image sizes are in pixels, ``frame_rate`` in Hz. ``varied_cameras`` randomizes focal length, camera height and tilt
    of every driving clip, for models that must generalize to other vehicles. ``close_share`` is the share of driving
    clips in which a vehicle passes close by or enters the image at its edge.
    """

    seed: int
    domains: tuple[str, ...]
    num_scenes: int
    height: int
    width: int
    frame_rate: float
    num_frames: int
    cameras: tuple[str, ...] = ("CAM_FRONT",)
    varied_cameras: bool = False
    close_share: float = 0.0

    def __post_init__(self) -> None:
        unknown = [domain for domain in self.domains if domain not in ALL_DOMAINS]
        if unknown:
            raise UserError(f"unknown simulated domain {unknown[0]!r}; choose from {', '.join(ALL_DOMAINS)}")
        if min(self.num_scenes, self.height, self.width) < 1 or self.num_frames < 2 or self.frame_rate <= 0:
            raise UserError(f"simulation needs a positive size and frame rate and at least 2 frames, got {self}")


class SimulatedSource:
    """Clips named ``sim-<domain>-<index>``. Scenes are simulated when they are indexed, pixels rendered on load."""

    skipped: Sequence[str] = ()

    def __init__(self, config: SimulationConfig) -> None:
        self.config = config

    def __len__(self) -> int:
        return len(self.config.domains) * self.config.num_scenes

    def scenes(self) -> Sequence[Scene]:
        return _Scenes(self.config)

    def files(self, scene: Scene) -> Sequence[Path]:
        return ()

    def load(self, scene: Scene) -> Clip:
        """Render ``scene``; raises UserError if it is not a scene of this source."""
        renderer = Renderer(simulate_world(self.config, *_parse_clip_id(self.config, scene.clip_id)))
        views = [[renderer.render(t, camera) for t in range(scene.num_frames)] for camera in scene.cameras]
        return Clip(scene=scene, frames=np.array(views))

    def depth_and_instances(self, scene: Scene) -> DepthAndInstances:
        """Those of ``scene``, a scene of this source or an edit of one; raises UserError if it is neither."""
        recorded = self._recorded(scene)
        domain, index = _parse_clip_id(self.config, recorded.clip_id)
        return render_depth_and_instances(simulate_world(self.config, domain, index), recorded, scene)

    def has_world_of(self, scene: Scene) -> bool:
        """Whether ``scene`` is a scene of this source or an edit of one."""
        try:
            self._recorded(scene)
        except UserError:
            return False
        return True

    def _recorded(self, scene: Scene) -> Scene:
        """The scene that ``scene`` is an edit of; edits keep times, lanes, the first pose and the sizes of objects."""
        domain, index = _parse_clip_id(self.config, scene.source.removeprefix("simulated:"))
        recorded = simulated_scene(self.config, domain, index)
        sizes = {track.id: tuple(track.size) for track in recorded.tracks}
        is_same = (
            len(scene.timestamps) == len(recorded.timestamps)
            and np.allclose(scene.timestamps, recorded.timestamps)
            and scene.ego_to_world is not None
            and recorded.ego_to_world is not None
            and np.allclose(scene.ego_to_world[0], recorded.ego_to_world[0])
            and len(scene.lanes) == len(recorded.lanes)
            and all(np.array_equal(a.points, b.points) for a, b in zip(scene.lanes, recorded.lanes, strict=True))
            and all(sizes.get(track.id, tuple(track.size)) == tuple(track.size) for track in scene.tracks)
        )
        if not is_same:
            raise UserError(f"{scene.clip_id}: {scene.source} is another scene in this simulation")
        return recorded


class _Scenes(Sequence[Scene]):
    def __init__(self, config: SimulationConfig) -> None:
        self._config = config

    def __len__(self) -> int:
        return len(self._config.domains) * self._config.num_scenes

    @overload
    def __getitem__(self, key: int) -> Scene: ...

    @overload
    def __getitem__(self, key: slice) -> Sequence[Scene]: ...

    def __getitem__(self, key: int | slice) -> Scene | Sequence[Scene]:
        if isinstance(key, slice):
            return [self[i] for i in range(*key.indices(len(self)))]
        if not -len(self) <= key < len(self):
            raise IndexError(f"scene {key} of {len(self)}")
        domain, index = divmod(key % len(self), self._config.num_scenes)
        return simulated_scene(self._config, self._config.domains[domain], index)


def simulated_scene(config: SimulationConfig, domain: str, index: int) -> Scene:
    """The ``index``-th Scene of ``domain``, without pixels. Every fifth belongs to the "val" split."""
    cameras: tuple[Camera, ...]
    if domain in OTHER_DOMAINS:
        cameras = (free_camera(config.height, config.width),)
    else:
        cameras = mount_cameras(config.cameras, config.height, config.width)
        if config.varied_cameras:
            cameras = randomize_cameras(cameras, np.random.default_rng((_clip_seed(config, domain, index), 1)))
    split = "val" if index % _VAL_EVERY == _VAL_EVERY - 1 else "train"
    return world_to_scene(
        simulate_world(config, domain, index), cameras, clip_id=f"sim-{domain}-{index:06d}", domain=domain, split=split
    )


def _parse_clip_id(config: SimulationConfig, clip_id: str) -> tuple[str, int]:
    domain, _, index = clip_id.removeprefix("sim-").rpartition("-")
    if not clip_id.startswith("sim-") or domain not in config.domains or not index.isdigit():
        raise UserError(f"{clip_id} is not a clip of this simulation, whose domains are {', '.join(config.domains)}")
    return domain, int(index)


def _clip_seed(config: SimulationConfig, domain: str, index: int) -> int:
    return int(np.random.SeedSequence((config.seed, zlib.crc32(domain.encode()), index)).generate_state(1)[0])


@lru_cache(maxsize=2)
def simulate_world(config: SimulationConfig, domain: str, index: int) -> World:
    """The world of the ``index``-th clip of ``domain``. Cached, because a scene is usually rendered after listing."""
    timestamps = np.arange(config.num_frames) / config.frame_rate
    seed = _clip_seed(config, domain, index)
    if domain in OTHER_DOMAINS:
        return build_other_world(domain, seed, timestamps)
    return build_driving_world(weather_of(domain), _select_scenario(config, seed, index), seed, timestamps)


def _select_scenario(config: SimulationConfig, seed: int, index: int) -> str:
    rng = np.random.default_rng((seed, 2))
    if rng.random() < config.close_share:
        return str(rng.choice(CLOSE_SCENARIOS))
    return SCENARIOS[index % len(SCENARIOS)]
