"""The demo: a simulated data set, and the whole road over it, small enough for two cores and a coffee."""

import argparse
from dataclasses import replace

from datasets.errors import UserError
from pipelines.run import run
from pipelines.run_dir import with_full_paths, write_settings
from pipelines.settings.config import Config, NuScenesData
from pipelines.simulate import VERSION, replay_root, simulate, tables_root
from pipelines.tracking import pipeline_run


def main(config: Config, args: argparse.Namespace) -> int:
    """Simulate, then run on the tables and folders that were written, read back as real data would be."""
    require_long_enough(config)
    world = config.run_dir / "world"
    simulate(config.simulate, world, config.data.num_frames)
    data = NuScenesData(
        name="nuscenes",
        root=tables_root(world),
        version=VERSION,
        split="all",
        cameras=config.simulate.cameras,
        sweeps=True,
        continue_short=False,
        height=config.data.height,
        width=config.data.width,
        frame_rate=config.data.frame_rate,
        num_frames=config.data.num_frames,
        stride=config.data.stride,
    )
    config = with_full_paths(replace(config, data=data, replay=replace(config.replay, root=replay_root(world))))
    write_settings(config)
    with pipeline_run(config, "demo") as tracker:
        return run(config, tracker)


def require_long_enough(config: Config) -> None:
    """A UserError where no simulated drive lasts as long as a clip."""
    clip, drive = config.data.num_frames / config.data.frame_rate, config.simulate.seconds
    if drive < clip:
        raise UserError(
            f"data.num_frames={config.data.num_frames} at data.frame_rate={config.data.frame_rate:g} takes {clip:g} s, "
            f"a simulated drive lasts {drive:g} s: set simulate.seconds to {clip:g} or more"
        )
