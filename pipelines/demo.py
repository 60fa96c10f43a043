"""The demo: a simulated data set, and the whole road over it, small enough for two cores and a coffee."""

import argparse
from dataclasses import replace

from datasets.errors import UserError
from pipelines.run import run
from pipelines.settings.config import Config, NuScenesData
from pipelines.simulate import VERSION, replay_root, simulate, tables_root
from pipelines.sources import framing_of
from pipelines.tracking import pipeline_run


def main(config: Config, args: argparse.Namespace) -> int:
    """Simulate, then run on the tables and folders that were written, read back as real data would be."""
    framing = framing_of(config.data)
    if framing.seconds >= config.simulate.seconds:
        raise UserError(
            f"{framing.num_frames} frames at {framing.frame_rate:g} Hz (data.num_frames, data.frame_rate) last "
            f"{framing.seconds:.1f} s, longer than a drive: raise simulate.seconds from {config.simulate.seconds:g}"
        )
    world = config.run_dir / "world"
    simulate(config.simulate, world, framing)
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
    config = replace(config, data=data, replay=replace(config.replay, root=replay_root(world)))
    with pipeline_run(config, "demo") as tracker:
        return run(config, tracker)
