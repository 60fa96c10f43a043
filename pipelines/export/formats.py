"""The formats of ``export.format``: each writes the accepted clips of a run to a folder of its own."""

from collections.abc import Callable, Mapping

from driveforge.datasets.webdataset_shards.packing import pack_shards
from driveforge.datasets.webdataset_shards.settings import ExportSettings
from driveforge.pipelines.export.accepted import accepted_samples, provenance
from driveforge.pipelines.export.clipgt import export_clipgt
from driveforge.pipelines.export.lerobot import export_lerobot
from driveforge.pipelines.export.nuscenes import export_nuscenes
from driveforge.pipelines.export.summary import ExportSummary
from driveforge.pipelines.run_dir import RunDir
from driveforge.pipelines.validate.gate import read_verdicts


def export_webdataset(run: RunDir, settings: ExportSettings) -> ExportSummary:
    rows = read_verdicts(run.verdicts)
    samples = accepted_samples(rows, run.candidates, allow_evaluation_split=settings.allow_evaluation_split)
    index = pack_shards(samples, run.shards, settings, provenance(rows))
    num_clips, num_shards = index["num_samples"], len(index["shards"])
    return ExportSummary(
        folder=run.shards,
        text=f"{num_clips} clips in {num_shards} shards",
        metrics={"shards": num_shards, "clips": num_clips},
        artifacts=("index.json", "README.md", "croissant.json", "samples.parquet", "sample.schema.json"),
    )


ExportFormat = Callable[[RunDir, ExportSettings], ExportSummary]
FORMATS: Mapping[str, ExportFormat] = {
    "webdataset": export_webdataset,
    "nuscenes": export_nuscenes,
    "clipgt": export_clipgt,
    "lerobot": export_lerobot,
}
