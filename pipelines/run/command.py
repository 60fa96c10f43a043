"""The whole pipeline: fine-tune, generate, calibrate, gate, review, export. Finished work of earlier calls is kept."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from driveforge.datasets.errors import UserError
from driveforge.datasets.stores.working_copy import upload_changes
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.console import plain_text
from driveforge.pipelines.export.command import export, log_export
from driveforge.pipelines.export.nuscenes import open_merged_root
from driveforge.pipelines.generate.command import generate_candidates, log_generation, print_failures
from driveforge.pipelines.generate.costs import CostLog
from driveforge.pipelines.generate.executors.execution import require_executor
from driveforge.pipelines.inputs.instruments import load_instruments
from driveforge.pipelines.review.publish import publish_review
from driveforge.pipelines.tracking.runs import Tracker, pipeline_run
from driveforge.pipelines.train.finetune import finetune
from driveforge.pipelines.validate.calibrate import calibrate_run
from driveforge.pipelines.validate.gate import Decision, count_reasons, count_states, gate


def main(config: Config, args: argparse.Namespace) -> int:
    with pipeline_run(config, "run") as tracker:
        return run(config, tracker)


def run(config: Config, tracker: Tracker) -> int:
    """Run all stages under one MLflow run; exit status 1 if too many units failed or nothing was accepted."""
    console = Console()
    # Fail before hours of training if something is missing.
    load_instruments(config.validate)
    require_calibration(config.validate.calibration)
    require_executor(config.executor)
    open_merged_root(config.run, config.export)
    console.rule("Fine-tune")
    with tracker.child("finetune") as child:
        finetune(config, child)
    if config.generate.retries:
        ensure_calibration(config)
    upload_changes(config.run_dir)  # workers on other machines read the model from there
    console.rule("Generate and measure")
    with tracker.child("generation") as child:
        generation = generate_candidates(config)
        log_generation(generation, child)
    console.rule("Calibrate, gate, review")
    ensure_calibration(config)
    decisions = gate(config.run, config.calibration_path)
    page = publish_review(config, decisions, tracker)
    console.rule("Export")
    exported = _export(config, decisions, tracker)
    console.print(summary_table(config.run_dir, decisions, page, exported))
    if cost := CostLog(config.run.candidates).total().describe(count_states(decisions)["accepted"]):
        console.print(cost)
    print_failures(generation, config.run.candidates)
    return 1 if generation.exceeds_budget or exported is None else 0


def ensure_calibration(config: Config) -> None:
    """Calibrate, unless there is a calibration."""
    require_calibration(config.validate.calibration)
    if not config.calibration_path.exists():
        calibrate_run(config)


def require_calibration(path: Path | None) -> None:
    """Raise UserError if the configured calibration file does not exist."""
    if path is not None and not path.exists():
        raise UserError(f"validate.calibration={path} does not exist: run `driveforge calibrate`, or unset it")


def _export(config: Config, decisions: Sequence[Decision], tracker: Tracker) -> Path | None:
    if not any(decision.state == "accepted" for decision in decisions):
        return None
    with tracker.child("export") as child:
        summary = export(config.run, config.export, config.data)
        log_export(summary, child)
    return summary.folder


def summary_table(run_dir: Path, decisions: Sequence[Decision], page: Path, exported: Path | None) -> Table:
    """The results of a run and their locations, as a table."""
    states, reasons = count_states(decisions), count_reasons(decisions)
    table = Table(show_header=False, title="Results")
    table.add_row("generated", str(len(decisions)))
    table.add_row("accepted", f"[green]{states['accepted']}[/green]")
    table.add_row("rejected", f"[red]{states['rejected']}[/red]")
    for code, count in reasons.most_common():
        table.add_row(f"  for {code}", str(count))
    if states["unmeasured"]:
        table.add_row("not measurable", str(states["unmeasured"]))
    table.add_section()
    table.add_row("exported clips", plain_text(exported or "none: nothing was accepted"))
    table.add_row("review", plain_text(f"driveforge review {run_dir}"))
    table.add_row("copy of the review to open", plain_text(page))
    table.add_row("in MLflow", plain_text(f"driveforge ui run_dir={run_dir}"))
    return table
