"""The formats of ``export.format``: each writes the accepted clips of a run to a folder of its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from driveforge.datasets.webdataset_shards.packing import pack_shards
from driveforge.datasets.webdataset_shards.settings import ExportSettings
from driveforge.pipelines.export.accepted import accepted_samples, provenance
from driveforge.pipelines.export.clipgt import write_clipgt_export
from driveforge.pipelines.export.lerobot import write_lerobot_export
from driveforge.pipelines.run_dir import RunDir
from driveforge.pipelines.validate.gate import read_verdicts


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportSummary:
    """Where an export is and what it holds: a line of ``text``, ``metrics`` and ``artifacts`` (names) for MLflow."""

    folder: Path
    text: str
    metrics: Mapping[str, float]
    artifacts: tuple[str, ...]


def export_webdataset(run: RunDir, settings: ExportSettings) -> ExportSummary:
    rows = read_verdicts(run.verdicts)
    index = pack_shards(accepted_samples(rows, run.candidates), run.shards, settings, provenance(rows))
    num_clips, num_shards = index["num_samples"], len(index["shards"])
    return ExportSummary(
        folder=run.shards,
        text=f"{num_clips} clips in {num_shards} shards",
        metrics={"shards": num_shards, "clips": num_clips},
        artifacts=("index.json", "README.md", "croissant.json"),
    )


def export_clipgt(run: RunDir, settings: ExportSettings) -> ExportSummary:
    num_clips = write_clipgt_export(run, settings)
    return _folder_summary(run.clipgt, f"{num_clips} clips as ClipGT", num_clips)


def export_lerobot(run: RunDir, settings: ExportSettings) -> ExportSummary:
    num_clips = write_lerobot_export(run, settings)
    return _folder_summary(run.lerobot, f"{num_clips} clips as a LeRobot data set", num_clips)


def _folder_summary(folder: Path, text: str, num_clips: int) -> ExportSummary:
    return ExportSummary(folder=folder, text=text, metrics={"clips": num_clips}, artifacts=("README.md",))


ExportFormat = Callable[[RunDir, ExportSettings], ExportSummary]
FORMATS: Mapping[str, ExportFormat] = {
    "webdataset": export_webdataset,
    "clipgt": export_clipgt,
    "lerobot": export_lerobot,
}
