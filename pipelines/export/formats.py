"""The formats of ``export.format``: each writes the accepted clips of a run to a folder of its own."""

from collections.abc import Callable, Mapping

from driveforge.datasets.webdataset_shards.packing import pack_shards
from driveforge.datasets.webdataset_shards.settings import ExportSettings
from driveforge.pipelines.export.accepted import accepted_samples, provenance
from driveforge.pipelines.export.clipgt import export_clipgt
from driveforge.pipelines.export.depth_and_instances import with_depth_and_instances
from driveforge.pipelines.export.lerobot import export_lerobot
from driveforge.pipelines.export.nuscenes import export_nuscenes
from driveforge.pipelines.export.summary import ExportSummary
from driveforge.pipelines.inputs.settings import Data
from driveforge.pipelines.run_dir import RunDir
from driveforge.pipelines.validate.gate import read_verdicts


def export_webdataset(run: RunDir, settings: ExportSettings, data: Data | None = None) -> ExportSummary:
    """Write shards; with depth and instance masks if all accepted clips are of scenes that ``data`` simulates."""
    rows = read_verdicts(run.verdicts)
    samples = accepted_samples(rows, run.candidates, allow_evaluation_split=settings.allow_evaluation_split)
    samples = with_depth_and_instances(samples, data)
    index = pack_shards(samples, run.shards, settings, provenance(rows))
    num_clips, num_shards = index["num_samples"], len(index["shards"])
    return ExportSummary(
        folder=run.shards,
        text=f"{num_clips} clips in {num_shards} shards",
        metrics={"shards": num_shards, "clips": num_clips},
        artifacts=("index.json", "README.md", "croissant.json", "samples.parquet", "sample.schema.json"),
    )


# The other formats; none of them has depth or masks.
OTHER_FORMATS: Mapping[str, Callable[[RunDir, ExportSettings], ExportSummary]] = {
    "nuscenes": export_nuscenes,
    "clipgt": export_clipgt,
    "lerobot": export_lerobot,
}
