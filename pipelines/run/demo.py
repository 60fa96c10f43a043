"""The demo: the whole pipeline on a small simulated data set."""

import argparse
from dataclasses import asdict, replace

from driveforge.datasets.errors import UserError
from driveforge.datasets.framing import Framing
from driveforge.datasets.simulation.settings import SimulateSettings
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.config.saved import with_absolute_paths, write_settings
from driveforge.pipelines.inputs.settings import NuScenesData
from driveforge.pipelines.run.command import run
from driveforge.pipelines.simulate import VERSION, replay_root, simulate, tables_root
from driveforge.pipelines.tracking.runs import pipeline_run


def main(config: Config, args: argparse.Namespace) -> int:
    """Simulate a data set on disk, and run the pipeline on it like on recorded data."""
    framing = config.data.framing
    require_long_enough(config.simulate, framing)
    root = config.run.simulated
    simulate(config.simulate, root, framing)
    data = NuScenesData(
        name="nuscenes",
        root=tables_root(root),
        version=VERSION,
        split="all",
        cameras=config.simulate.cameras,
        sweeps=True,
        pad_short_scenes=False,
        **asdict(framing),
    )
    # The tables are those of a clean simulation, not of a recorder.
    config = replace(config, data=data, validate=replace(config.validate, degrade=False))
    config = with_absolute_paths(replace(config, replay=replace(config.replay, root=replay_root(root))))
    write_settings(config)
    with pipeline_run(config, "demo") as tracker:
        return run(config, tracker)


def require_long_enough(settings: SimulateSettings, framing: Framing) -> None:
    """Raise UserError if a simulated recording is shorter than a clip."""
    if settings.seconds < framing.seconds:
        raise UserError(
            f"data.num_frames={framing.num_frames} at data.frame_rate={framing.frame_rate:g} takes "
            f"{framing.seconds:g} s, but a simulated recording has {settings.seconds:g} s: set simulate.seconds to "
            f"{framing.seconds:g} or more"
        )
