"""The simulate stage: the procedural world as a data set, drives in nuScenes tables, other domains in folders."""

import argparse
import math
import shutil
from functools import partial
from pathlib import Path

from rich.progress import track

from datasets.folder_source import write_clip_folder
from datasets.framing import Framing
from datasets.nuscenes_rows import write_recording
from datasets.nuscenes_tables import NuScenesWriter
from datasets.nuscenes_taxonomy import TableRows
from datasets.scene import Scene
from datasets.simulated_source import SimulatedSource, SimulationConfig
from datasets.simulation.recording import record_drive
from pipelines.parallel import on_all_cores
from pipelines.settings.config import Config, SimulateConfig
from pipelines.sources import framing_of

VARIANTS = ("day", "dusk", "rain")
VERSION = "v1.0-mini"
KEY_FRAMES_HZ = 2.0
DONE = "simulated.txt"


def main(config: Config, args: argparse.Namespace) -> None:
    simulate(config.simulate, args.out, framing_of(config.data))
    print(f"{config.simulate.num_scenes} drives in {tables_root(args.out)} ({VERSION})")
    print(f"{config.simulate.replay_clips} clips of other domains in {replay_root(args.out)}")


def tables_root(out: Path) -> Path:
    return out / "nuscenes"


def replay_root(out: Path) -> Path:
    return out / "replay"


def simulate(settings: SimulateConfig, out: Path, framing: Framing) -> None:
    """Write the whole world under ``out``, on all cores; the same settings give the same bytes.

    Clips of other domains last as long as one of ``framing``. A world that these settings already finished is kept, an
    unfinished or another one is made anew.
    """
    num_frames = math.ceil(framing.seconds * settings.frame_rate - 1e-9) + 1
    done = out / DONE
    made = f"{settings!r} {num_frames}"
    if done.is_file() and done.read_text() == made:
        return
    done.unlink(missing_ok=True)
    for folder in (tables_root(out), replay_root(out)):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    with NuScenesWriter(tables_root(out), VERSION) as tables:
        drives = on_all_cores(partial(_write_drive, settings, tables_root(out)), range(settings.num_scenes))
        for scene, rows in track(drives, "Simulating drives", total=settings.num_scenes):
            tables.add_rows(scene, rows)
    clips = on_all_cores(
        partial(_write_replay_clip, settings, num_frames, replay_root(out)), range(settings.replay_clips)
    )
    for _ in track(clips, "Simulating other domains", total=settings.replay_clips):
        pass
    done.write_text(made)


def _write_drive(settings: SimulateConfig, root: Path, number: int) -> tuple[Scene, TableRows]:
    """One drive's images and its table rows; the variants take turns."""
    index, variant = divmod(number, len(VARIANTS))
    recording = record_drive(
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
    every = max(1, round(settings.frame_rate / KEY_FRAMES_HZ))
    rows = write_recording(
        root, recording.scene, lambda camera, t: recording.image(names[camera], t), key_frame_every=every
    )
    return recording.scene, rows


def _write_replay_clip(settings: SimulateConfig, num_frames: int, root: Path, number: int) -> None:
    """One clip of a non-driving domain as a folder; the domains take turns."""
    source = SimulatedSource(
        SimulationConfig(
            seed=settings.seed,
            domains=settings.replay_domains,
            num_scenes=-(-settings.replay_clips // len(settings.replay_domains)),
            height=settings.height,
            width=settings.width,
            frame_rate=settings.frame_rate,
            num_frames=num_frames,
        )
    )
    index, domain = divmod(number, len(settings.replay_domains))
    scene = source.scenes()[domain * source.config.num_scenes + index]
    write_clip_folder(root, source.load(scene))
