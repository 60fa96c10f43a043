"""The drives of the study: simulated recordings, which stand for real ones, and what an edited drive looks like."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from driveforge.datasets.domains import DRIVING_DOMAINS, weather_of
from driveforge.datasets.files.atomic import make_folder
from driveforge.datasets.geometry import Array
from driveforge.datasets.scene import Clip, Scene, Track
from driveforge.datasets.simulated_source import SimulationConfig, simulate_world, simulated_scene
from driveforge.datasets.simulation.renderer import Renderer
from driveforge.datasets.simulation.weather import sample_weather
from driveforge.datasets.simulation.world import Body, World
from driveforge.datasets.webdataset_shards.format import clip_from_members, clip_members
from driveforge.datasets.webdataset_shards.tar_samples import read_samples
from driveforge.datasets.webdataset_shards.tarball import write_tar
from driveforge.pipelines.studies.validator.clips import as_annotated

# What the shipped base generates.
HEIGHT, WIDTH, NUM_FRAMES, FRAME_RATE = 96, 160, 17, 10.0
CLOSE_SHARE = 0.25
MAX_DRIVES = 10_000  # of one seed, and domain


@dataclass(frozen=True, kw_only=True, slots=True)
class Drive:
    """Simulated recording ``number`` of a seed; domains take turns."""

    seed: int
    number: int

    @property
    def domain(self) -> str:
        return DRIVING_DOMAINS[self.number % len(DRIVING_DOMAINS)]

    @property
    def index(self) -> int:
        return self.number // len(DRIVING_DOMAINS)

    @property
    def config(self) -> SimulationConfig:
        return SimulationConfig(
            seed=self.seed,
            domains=DRIVING_DOMAINS,
            num_scenes=MAX_DRIVES,
            height=HEIGHT,
            width=WIDTH,
            frame_rate=FRAME_RATE,
            num_frames=NUM_FRAMES,
            close_share=CLOSE_SHARE,
        )

    def world(self) -> World:
        return simulate_world(self.config, self.domain, self.index)

    def scene(self) -> Scene:
        """The scene with the boxes of all objects within 80 m, hidden ones too: what a generator is commanded."""
        return simulated_scene(self.config, self.domain, self.index)


def record(drive: Drive) -> Clip:
    """The recording, with boxes only in frames in which their object is visible, as people annotate them."""
    renderer, scene = Renderer(drive.world()), drive.scene()
    return _render(renderer, as_annotated(scene, renderer))


def simulate_command(drive: Drive, command: Scene) -> Clip:
    """The clip of an edited scene of ``drive`` as the simulator renders it: that of a perfect generator."""
    return _render(Renderer(_follow(drive, command)), command)


def _render(renderer: Renderer, scene: Scene) -> Clip:
    frames = [[renderer.render(t, camera) for t in range(scene.num_frames)] for camera in scene.cameras]
    return Clip(scene=scene, frames=np.array(frames))


def _follow(drive: Drive, command: Scene) -> World:
    """The world of ``drive`` in which the ego vehicle, the objects and the weather are as in ``command``."""
    world, tracks = drive.world(), {track.id: track for track in command.tracks}
    weather = world.weather
    if command.domain != drive.domain:
        weather = sample_weather(weather_of(command.domain), np.random.default_rng(world.seed))
    bodies = tuple(_moved(body, tracks[body.id]) if body.id in tracks else body for body in world.bodies)
    assert command.ego_to_world is not None, "simulated scenes have poses"
    return replace(world, ego_to_world=command.ego_to_world, bodies=bodies, weather=weather)


def _moved(body: Body, track: Track) -> Body:
    """The body on the path of its track, whose poses are those of the center of the box."""
    poses: Array = np.array(track.box_to_world)
    if not body.is_centered:
        poses[:, :3, 3] -= poses[:, :3, 2] * body.size[2] / 2
    return replace(body, poses=poses)


def store_clip(path: Path, clip: Clip, metadata: Mapping[str, Any]) -> None:
    """Write the clip as a shard of one sample, through H.264 like all clips of the study."""
    store_members(path, clip.scene.clip_id, clip_members(clip, metadata))


def store_members(path: Path, key: str, members: Mapping[str, bytes]) -> None:
    make_folder(path.parent)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write_tar(scratch, [(key, members)])
        scratch.rename(path)
    finally:
        scratch.unlink(missing_ok=True)


def load_clip(path: Path) -> tuple[Clip, dict[str, Any]]:
    """The clip of ``store_clip`` with its metadata."""
    ((key, members),) = read_samples(path)
    return clip_from_members(members, f"{path}: {key}")
