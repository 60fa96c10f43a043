"""driveforge: synthetic driving data that a perception team can train on.

The names of a notebook, each imported when it is first used. A clip from the simulated world, measured against its
commanded ego pose, and the same clip under a wrong one:

>>> import driveforge
>>> config = driveforge.load_config("data.num_scenes=1", "data.domains=[driving-day]")
>>> source = driveforge.open_source(config.data)
>>> clip = source.load(source.scenes()[0])
>>> clip.frames.shape
(1, 17, 96, 160, 3)
>>> driveforge.measure(clip)["pose_yaw"].value < 0.5
True
>>> wrong = driveforge.corrupt(clip, "yaw-rate", 5.0, seed=0)
>>> driveforge.measure(wrong)["pose_yaw"].value > 4
True

In a checkout the packages below are links to the folders beside this one; in an installed wheel they are here.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from driveforge.datasets.scene import Camera, Clip, Scene, Track
    from driveforge.datasets.webdataset_shards.source import ShardSource
    from driveforge.finetune.training.fine_tune import fine_tune
    from driveforge.finetune.training.settings import FineTuneSettings
    from driveforge.finetune.world_model.generator import Generator
    from driveforge.finetune.world_model.sampler_settings import SamplerSettings
    from driveforge.pipelines.config.compose import load_config
    from driveforge.pipelines.inputs.items import list_clips
    from driveforge.pipelines.inputs.sources import open_source
    from driveforge.pipelines.plots.measured_clip import plot_measured_clip
    from driveforge.validation.calibration import Calibration
    from driveforge.validation.corruptions.catalog import corrupt
    from driveforge.validation.measures import measure, measure_clip
    from driveforge.validation.verdict import judge

# Where each name is.
_MODULES = {
    "Calibration": "validation.calibration",
    "Camera": "datasets.scene",
    "Clip": "datasets.scene",
    "FineTuneSettings": "finetune.training.settings",
    "Generator": "finetune.world_model.generator",
    "SamplerSettings": "finetune.world_model.sampler_settings",
    "Scene": "datasets.scene",
    "ShardSource": "datasets.webdataset_shards.source",
    "Track": "datasets.scene",
    "corrupt": "validation.corruptions.catalog",
    "plot_measured_clip": "pipelines.plots.measured_clip",
    "fine_tune": "finetune.training.fine_tune",
    "measure_clip": "validation.measures",
    "judge": "validation.verdict",
    "list_clips": "pipelines.inputs.items",
    "load_config": "pipelines.config.compose",
    "open_source": "pipelines.inputs.sources",
    "measure": "validation.measures",
}

__all__ = [
    "Calibration",
    "Camera",
    "Clip",
    "FineTuneSettings",
    "Generator",
    "SamplerSettings",
    "Scene",
    "ShardSource",
    "Track",
    "corrupt",
    "fine_tune",
    "judge",
    "list_clips",
    "load_config",
    "measure",
    "measure_clip",
    "open_source",
    "plot_measured_clip",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'driveforge' has no attribute {name!r}")
    value = getattr(import_module(f"driveforge.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
