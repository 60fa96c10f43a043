"""Depth and instance masks of accepted clips whose scenes are simulated."""

from dataclasses import replace

from driveforge.datasets.scene import Scene
from driveforge.datasets.simulated_source import SimulatedSource
from driveforge.datasets.webdataset_shards.arrays import pack_depth_and_instances
from driveforge.datasets.webdataset_shards.packing import AcceptedSample
from driveforge.pipelines.inputs.settings import Data, SimulatedData
from driveforge.pipelines.inputs.sources import open_source


def with_depth_and_instances(samples: list[AcceptedSample], data: Data | None) -> list[AcceptedSample]:
    """``samples`` that render depth and instances, if ``data`` simulates all of their scenes; else unchanged.

    Loaders infer members from the first samples, so either all have them or none.
    """
    if not isinstance(data, SimulatedData):
        return samples
    source = open_source(data)
    assert isinstance(source, SimulatedSource)
    if not all(source.has_world_of(sample.read_scene()[0]) for sample in samples):
        return samples

    def render(scene: Scene) -> dict[str, bytes]:
        return pack_depth_and_instances(source.depth_and_instances(scene), scene)

    return [replace(sample, render=render) for sample in samples]
