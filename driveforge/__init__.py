"""driveforge: synthetic driving clips for training perception models.

The public API; each name is imported on first use. For example, measure a simulated clip against its commanded ego
pose, corrupt its yaw rate by 5 deg/s, and measure it again:

>>> import driveforge
>>> config = driveforge.load_config("data.num_scenes=1", "data.domains=[driving-day]")
>>> source = driveforge.open_source(config.data)
>>> clip = source.load(source.scenes()[0])
>>> clip.frames.shape
(1, 17, 96, 160, 3)
>>> driveforge.measure(clip)["pose_yaw"].value < 1
True
>>> corrupted = driveforge.corrupt(clip, "yaw-rate", 5.0, seed=0)
>>> driveforge.measure(corrupted)["pose_yaw"].value > 4
True

In a checkout the packages in this folder are links to the folders of the repository root; in a wheel they are folders.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from driveforge.datasets.scene import Camera, Clip, Scene, Track
    from driveforge.datasets.webdataset_shards.source import ShardSource
    from driveforge.finetune.training.fine_tune import fine_tune
    from driveforge.finetune.training.settings import FineTuneSettings
    from driveforge.finetune.world_model.sampler_settings import SamplerSettings
    from driveforge.pipelines.config.compose import load_config
    from driveforge.pipelines.generate.generator import Generator, load_generator
    from driveforge.pipelines.inputs.items import list_clips
    from driveforge.pipelines.inputs.sources import open_source
    from driveforge.pipelines.plots.measured_clip import plot_measured_clip
    from driveforge.pipelines.validate.judge import judge_clips
    from driveforge.validation.calibration import Calibration
    from driveforge.validation.corruptions.catalog import corrupt
    from driveforge.validation.measures import measure, measure_clip
    from driveforge.validation.verdict import judge

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
    "judge_clips",
    "list_clips",
    "load_config",
    "load_generator",
    "measure",
    "measure_clip",
    "open_source",
    "plot_measured_clip",
]

# The module of each name.
_MODULES = {
    "Calibration": "validation.calibration",
    "Camera": "datasets.scene",
    "Clip": "datasets.scene",
    "FineTuneSettings": "finetune.training.settings",
    "Generator": "pipelines.generate.generator",
    "SamplerSettings": "finetune.world_model.sampler_settings",
    "Scene": "datasets.scene",
    "ShardSource": "datasets.webdataset_shards.source",
    "Track": "datasets.scene",
    "corrupt": "validation.corruptions.catalog",
    "fine_tune": "finetune.training.fine_tune",
    "judge": "validation.verdict",
    "judge_clips": "pipelines.validate.judge",
    "list_clips": "pipelines.inputs.items",
    "load_config": "pipelines.config.compose",
    "load_generator": "pipelines.generate.generator",
    "measure": "validation.measures",
    "measure_clip": "validation.measures",
    "open_source": "pipelines.inputs.sources",
    "plot_measured_clip": "pipelines.plots.measured_clip",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'driveforge' has no attribute {name!r}")
    value = getattr(import_module(f"driveforge.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
