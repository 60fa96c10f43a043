"""The command ``report``: what passes the gate at what cost, and what fails since which model, over several runs."""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
from rich import get_console
from rich.table import Table

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import atomic_file, make_folder, write_atomic
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.console import plain_text, print_result
from driveforge.pipelines.report.ledger import build_ledger, describe_changes, ledger_table
from driveforge.pipelines.report.outcomes import Outcome, outcome_table, read_outcomes
from driveforge.pipelines.report.page import format_number, html_table, write_page
from driveforge.pipelines.report.plot import plot_ledger, plot_yields
from driveforge.pipelines.report.rebalance import rebalanced_edits, settings_file
from driveforge.pipelines.report.yields import Yield, compute_yields, yield_table
from driveforge.pipelines.run_dir import require_run


def main(config: Config, args: argparse.Namespace) -> None:
    """Write the report of the given runs, or of the run of ``config``, and print it."""
    runs = args.runs or [config.run_dir]
    for run_dir in runs:
        require_run(run_dir)
    if len({run_dir.name for run_dir in runs}) < len(runs):
        raise UserError("two of the runs have the same name, so their clips could not be told apart")
    outcomes = [outcome for run_dir in runs for outcome in read_outcomes(run_dir)]
    out = args.out or runs[0]
    make_folder(out)
    print_result(REPORTS[args.kind](outcomes, out))


def report_yield(outcomes: Sequence[Outcome], out: Path) -> Path:
    """Write ``yield.parquet``, ``yield.png``, ``yield.html`` and ``yield-edits.yaml`` to ``out``; returns the page."""
    yields = compute_yields(outcomes)
    _write_table(out / "yield.parquet", yield_table(yields))
    _write_table(out / "outcomes.parquet", outcome_table(list(outcomes)))
    plot_yields(out / "yield.png", yields)
    if edits := rebalanced_edits(yields):
        write_atomic(out / "yield-edits.yaml", settings_file(edits))
    header = (
        "condition",
        "value",
        "clips",
        "accepted",
        "yield",
        "90 % interval",
        "s per accepted",
        "GPU s per accepted",
    )
    rows = [_yield_cells(row) for row in yields]
    paragraphs = [
        f"{yields[0].num_accepted} of {yields[0].num_clips} generated clips were accepted. The yield of a condition is "
        "the mean of a Beta posterior whose prior is the yield of all clips with the weight of 4 clips.",
        "Costs are seconds of workers and of GPUs for all clips of the condition, divided by the accepted ones.",
    ]
    write_page(
        out / "yield.html", title="Yield", paragraphs=paragraphs, picture="yield.png", tables=[html_table(header, rows)]
    )
    _print_table(("condition", "value", "accepted", "yield, 90 % interval", "cost"), map(_yield_line, yields))
    return out / "yield.html"


def report_ledger(outcomes: Sequence[Outcome], out: Path) -> Path:
    """Write ``ledger.parquet``, ``ledger.png`` and ``ledger.html`` to ``out``; returns the page."""
    rows = build_ledger(outcomes)
    _write_table(out / "ledger.parquet", ledger_table(rows))
    plot_ledger(out / "ledger.png", rows)
    changes = describe_changes(rows) or [
        "No reason is clearly more or less frequent with one model than with the next."
    ]
    header = ("model", "since", "condition", "value", "reason", "clips", "not accepted for it", "share")
    cells = [
        (row.model, row.since, row.condition, row.value, row.reason, row.num_clips, row.count, row.share)
        for row in rows
        if row.count
    ]
    write_page(
        out / "ledger.html",
        title="Ledger",
        paragraphs=changes,
        picture="ledger.png",
        tables=[html_table(header, cells)],
    )
    overall = [row for row in rows if row.count and row.condition == "all"]
    lines = [(row.model, row.since[:10], row.reason, f"{row.count} of {row.num_clips}") for row in overall]
    _print_table(("model", "since", "reason", "clips"), lines)
    for change in changes:
        print_result(change)
    return out / "ledger.html"


REPORTS = {"yield": report_yield, "ledger": report_ledger}


def _yield_cells(row: Yield) -> tuple[str | int | float, ...]:
    return (
        row.condition.replace("_", " "),
        row.value,
        row.num_clips,
        row.num_accepted,
        row.mean,
        f"{row.low:.2f} to {row.high:.2f}",
        row.seconds_per_accepted,
        row.gpu_seconds_per_accepted,
    )


def _yield_line(row: Yield) -> tuple[str, ...]:
    share = f"{row.mean:.0%}, {row.low:.0%} to {row.high:.0%}"
    cost = f"{format_number(row.seconds_per_accepted)} s" if row.num_accepted and row.seconds_per_accepted > 0 else ""
    return row.condition.replace("_", " "), row.value, f"{row.num_accepted} of {row.num_clips}", share, cost


def _print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    table = Table(*header)
    for row in rows:
        table.add_row(*map(plain_text, row))
    get_console().print(table)


def _write_table(path: Path, table: pa.Table) -> None:
    with atomic_file(path) as file:
        pa.parquet.write_table(table, file)
