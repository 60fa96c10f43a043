"""The command ``simulate``: procedural drives as nuScenes tables, and clips of other domains in folders."""

import argparse
import json
import math
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.files.atomic_folder import atomic_folder, is_absent_or_empty
from driveforge.datasets.files.json_record import read_json
from driveforge.datasets.files.lock import file_lock
from driveforge.datasets.folder_source import write_clip_folder
from driveforge.datasets.framing import Framing
from driveforge.datasets.nuscenes.rows import key_frames, write_recording
from driveforge.datasets.nuscenes.taxonomy import TableRows
from driveforge.datasets.nuscenes.writer import NuScenesWriter
from driveforge.datasets.progress import track
from driveforge.datasets.scene import Scene
from driveforge.datasets.simulated_source import SimulatedSource, SimulationConfig
from driveforge.datasets.simulation.long_drive import simulate_drive
from driveforge.datasets.simulation.settings import SimulateSettings
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.console import print_message
from driveforge.pipelines.processes.parallel import parallel_map

VARIANTS = ("day", "dusk", "rain")
VERSION = "v1.0-mini"
KEY_FRAMES_HZ = 2.0
# In each of the two folders: the settings that it was generated with.
SETTINGS_FILE = "simulated.json"


def main(config: Config, args: argparse.Namespace) -> None:
    simulate(config.simulate, args.out, config.data.framing)
    print(f"{config.simulate.num_scenes} drives in {tables_root(args.out)} ({VERSION})")
    print(f"{config.simulate.replay_clips} clips of other domains in {replay_root(args.out)}")


def tables_root(out: Path) -> Path:
    return out / "nuscenes"


def replay_root(out: Path) -> Path:
    return out / "replay"


def simulate(settings: SimulateSettings, out: Path, framing: Framing) -> None:
    """Write the drives and the clips of other domains to ``out``; those clips are as long as one of ``framing``.

    The same settings give the same bytes, and a finished folder is kept. No file is ever replaced: raises UserError,
    before anything is written, if a folder holds anything else.
    """
    world = _World(settings=settings, framing=framing)
    for folder in _WRITERS:
        _is_written(out / folder, world)
    with file_lock(out / ".lock", print_message):
        for folder, write in _WRITERS.items():
            if not _is_written(out / folder, world):
                write(world, out)


@dataclass(frozen=True, kw_only=True, slots=True)
class _World:
    """The settings that determine the bytes of a simulated world."""

    settings: SimulateSettings
    framing: Framing

    @property
    def num_frames(self) -> int:
        """The frames of a clip of another domain, at the rate of the simulation."""
        # The tolerance absorbs floating-point error, which would add a frame.
        return math.ceil(self.framing.seconds * self.settings.frame_rate - 1e-9) + 1

    def to_json(self) -> dict[str, Any]:
        """By the full name of each setting."""
        settings = {f"simulate.{key}": value for key, value in asdict(self.settings).items()}
        framing = {"data.num_frames": self.framing.num_frames, "data.frame_rate": self.framing.frame_rate}
        return dict(json.loads(json.dumps({**settings, **framing})))


def _is_written(folder: Path, world: _World) -> bool:
    if is_absent_or_empty(folder):
        return False
    expected = world.to_json()
    try:
        recorded = read_json(folder / SETTINGS_FILE)
    except UserError:
        recorded = None
    if not isinstance(recorded, dict):
        raise UserError(f"{folder} was not written by driveforge simulate and is not changed; choose another folder")
    changed = [f"{key} was {shorten(recorded.get(key))}" for key in expected if recorded.get(key) != expected[key]]
    if changed:
        raise UserError(
            f"{folder} was simulated with other settings ({changed[0]}); choose another folder, or delete it"
        )
    return True


def _write_drives(world: _World, out: Path) -> None:
    settings = world.settings
    with atomic_folder(tables_root(out)) as root:
        with NuScenesWriter(root, VERSION) as tables:
            drives = parallel_map(partial(_write_drive, settings, root), range(settings.num_scenes))
            for scene, rows in track(drives, "Simulating drives", total=settings.num_scenes):
                tables.add_rows(scene, rows)
        _write_settings(root, world)


def _write_replay(world: _World, out: Path) -> None:
    num_clips = world.settings.replay_clips
    with atomic_folder(replay_root(out)) as root:
        clips = parallel_map(partial(_write_replay_clip, world, root), range(num_clips))
        for _ in track(clips, "Simulating other domains", total=num_clips):
            pass
        _write_settings(root, world)


_WRITERS = {"nuscenes": _write_drives, "replay": _write_replay}


def _write_settings(folder: Path, world: _World) -> None:
    (folder / SETTINGS_FILE).write_text(json.dumps(world.to_json(), indent=2) + "\n", encoding="utf-8")


def _write_drive(settings: SimulateSettings, root: Path, number: int) -> tuple[Scene, TableRows]:
    """Write the images of one drive and return its table rows; consecutive drives cycle through the variants."""
    index, variant = divmod(number, len(VARIANTS))
    recording = simulate_drive(
        VARIANTS[variant],
        index,
        seed=settings.seed,
        duration=settings.seconds,
        height=settings.height,
        width=settings.width,
        frame_rate=settings.frame_rate,
        cameras=settings.cameras,
    )
    names = [camera.name for camera in recording.scene.cameras]
    key_frame_every = max(1, round(settings.frame_rate / KEY_FRAMES_HZ))
    keys = key_frames(recording.scene.num_frames, key_frame_every)
    rows = write_recording(root, recording.scene, lambda camera, t: recording.image(names[camera], t), keys=keys)
    return recording.scene, rows


def _write_replay_clip(world: _World, root: Path, number: int) -> None:
    """Write one clip of another domain as a folder; consecutive clips cycle through the domains."""
    settings = world.settings
    source = SimulatedSource(
        SimulationConfig(
            seed=settings.seed,
            domains=settings.replay_domains,
            num_scenes=math.ceil(settings.replay_clips / len(settings.replay_domains)),
            height=settings.height,
            width=settings.width,
            frame_rate=settings.frame_rate,
            num_frames=world.num_frames,
        )
    )
    index, domain = divmod(number, len(settings.replay_domains))
    scene = source.scenes()[domain * source.config.num_scenes + index]
    write_clip_folder(root, source.load(scene))
