"""The export stage: write the accepted clips of a run in the format ``export.format``."""

import argparse

from driveforge.datasets.webdataset_shards.settings import ExportSettings
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.console import print_result
from driveforge.pipelines.export.accepted import require_reviewed
from driveforge.pipelines.export.formats import OTHER_FORMATS, export_webdataset
from driveforge.pipelines.export.summary import ExportSummary
from driveforge.pipelines.inputs.settings import Data
from driveforge.pipelines.run_dir import RunDir
from driveforge.pipelines.tracking.runs import Tracker, pipeline_run


def main(config: Config, args: argparse.Namespace) -> None:
    """Export the accepted clips and print where they are."""
    summary = export(config.run, config.export, config.data)
    with pipeline_run(config, "export") as tracker:
        log_export(summary, tracker)
    print_result(f"{summary.text}: {summary.folder}")


def export(run: RunDir, settings: ExportSettings, data: Data | None = None) -> ExportSummary:
    """Write the accepted candidates of a run, generated from ``data``. Raises UserError if none was accepted."""
    require_reviewed(run)
    if settings.format == "webdataset":
        return export_webdataset(run, settings, data)
    return OTHER_FORMATS[settings.format](run, settings)


def log_export(summary: ExportSummary, tracker: Tracker) -> None:
    tracker.log_metrics(summary.metrics)
    for name in summary.artifacts:
        tracker.log_artifact(summary.folder / name)
