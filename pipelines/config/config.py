"""The settings of all commands, composed of the settings records of each package."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from driveforge.datasets.simulation.settings import SimulateSettings
from driveforge.datasets.webdataset_shards.settings import ExportSettings
from driveforge.finetune.training.settings import FineTuneSettings
from driveforge.pipelines.generate.executors.settings import ExecutorSettings
from driveforge.pipelines.generate.settings import GenerateSettings
from driveforge.pipelines.generate.tune.settings import TuneSettings
from driveforge.pipelines.inputs.settings import Data
from driveforge.pipelines.nightly.settings import NightlySettings
from driveforge.pipelines.registry.settings import ModelSettings, PromoteSettings
from driveforge.pipelines.replay.settings import ReplaySettings
from driveforge.pipelines.run_dir import RunDir
from driveforge.pipelines.tracking.settings import TrackingSettings
from driveforge.pipelines.train.estimate.settings import EstimateSettings
from driveforge.pipelines.train.settings import EvaluateSettings, PretrainSettings
from driveforge.pipelines.validate.settings import ValidateSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """The settings of all commands; results go to ``run_dir``."""

    run_dir: Annotated[Path, "folder of all outputs of the run"]
    data: Data
    replay: ReplaySettings
    model: ModelSettings
    simulate: SimulateSettings
    pretrain: PretrainSettings
    finetune: FineTuneSettings
    estimate: EstimateSettings
    evaluate: EvaluateSettings
    promote: PromoteSettings
    generate: GenerateSettings
    tune: TuneSettings
    validate: ValidateSettings
    export: ExportSettings
    executor: ExecutorSettings
    tracking: TrackingSettings
    nightly: NightlySettings

    @property
    def run(self) -> RunDir:
        return RunDir(self.run_dir)

    @property
    def calibration_path(self) -> Path:
        return self.validate.calibration or self.run.calibration
