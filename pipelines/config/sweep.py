"""``driveforge sweep``: a command once for each combination of settings, each in a run folder of its own.

<run_dir>/sweep/000-num_steps-4/            the run folder of a combination, named by its number and its values
<run_dir>/sweep/000-num_steps-4/sweep.json  its settings, exit status and duration
<run_dir>/sweep/summary.json                the table of all combinations
"""

import argparse
import itertools
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import make_folder, write_atomic
from driveforge.datasets.files.json_record import read_record
from driveforge.pipelines.commands.catalog import COMMANDS
from driveforge.pipelines.config.build import split_commas, with_suggestion
from driveforge.pipelines.config.compose import group_choices, resolve, settings_layer
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.config.layers import layer_of_overrides, read_settings_file, split_override
from driveforge.pipelines.console import plain_text, print_message, print_result
from driveforge.pipelines.processes import supervise
from driveforge.pipelines.run_dir import SETTINGS_FILE, RunDir

RECORD_FILE, SUMMARY_FILE = "sweep.json", "summary.json"
# Exit statuses of a command that has finished: with a result, or a negative one.
_FINISHED = {0: "done", 1: "done, negative result"}
_MAX_NAME = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class SweptRun:
    """``command`` with ``overrides``, of which ``swept`` vary; ``status`` is its exit status, -1 if it did not end."""

    command: tuple[str, ...]
    overrides: tuple[str, ...]
    swept: tuple[str, ...]
    status: int = -1
    seconds: float = 0.0


def main(config: Config, args: argparse.Namespace) -> int:
    """Run every combination that has not finished yet; exit status 2 if one failed, 1 if one has a negative result."""
    root = config.run_dir / "sweep"
    files = [path for path in (config.run_dir / SETTINGS_FILE,) if path.exists()] + list(args.config)
    require_command(args.swept[0])
    planned = list_combinations(args.swept, args.overrides)
    check_combinations(planned, files)
    folders = assign_folders(root, planned)
    results = []
    for number, (folder, run) in enumerate(folders.items(), start=1):
        print_message(f"[{number}/{len(folders)}] {folder.name}: {' '.join((*run.command, *run.swept))}")
        results.append(run if run.status in _FINISHED else _run(folder, run, files))
    rows = [_row(folder, run) for folder, run in zip(folders, results, strict=True)]
    write_atomic(root / SUMMARY_FILE, json.dumps(rows, indent=2).encode())
    Console().print(summary_table(rows))
    print_result(f"table: {root / SUMMARY_FILE}")
    worst = [0 if run.status == 0 else 1 if run.status == 1 else 2 for run in results]
    return max(worst, default=0)


def require_command(name: str) -> None:
    """Raise UserError if there is no such command."""
    names = [command.name for command in COMMANDS if not command.reads_overrides]
    if name not in names:
        raise UserError(with_suggestion(f"sweep: no command {name!r}", name, names))


def list_combinations(command: Sequence[str], overrides: Sequence[str]) -> list[SweptRun]:
    """One run for each combination of the values that are separated by commas outside of brackets."""
    choices: list[list[str]] = []
    for override in overrides:
        key, value = split_override(override)
        if key != "run_dir":
            choices.append([f"{key}={part}" for part in split_commas(value)])
    swept = [number for number, options in enumerate(choices) if len(options) > 1]
    if not swept:
        raise UserError("sweep varies nothing; give a setting several values, such as generate.seed=0,1,2")
    return [
        SweptRun(command=tuple(command), overrides=chosen, swept=tuple(chosen[number] for number in swept))
        for chosen in itertools.product(*choices)
    ]


def check_combinations(runs: Sequence[SweptRun], files: Sequence[Path]) -> None:
    """Raise UserError if the settings of a combination are wrong, before the first is run."""
    layers = [settings_layer(read_settings_file(path), str(path)) for path in files]
    for run in runs:
        resolve([*layers, layer_of_overrides(run.overrides, group_choices())])


def assign_folders(root: Path, runs: Sequence[SweptRun]) -> dict[Path, SweptRun]:
    """The folder of each run, with its record: that of an earlier call, or a new one with the next number."""
    known = dict(_read_runs(root))
    by_settings = {(run.command, run.overrides): folder for folder, run in known.items()}
    next_number = 1 + max((int(folder.name.split("-")[0]) for folder in known), default=-1)
    folders = {}
    for run in runs:
        folder = by_settings.get((run.command, run.overrides))
        if folder is None:
            folder = root / f"{next_number:03d}-{_slug(run.swept)}"
            next_number += 1
            make_folder(folder)
            _write_run(folder, run)
        folders[folder] = known.get(folder, run)
    return folders


def _run(folder: Path, run: SweptRun, files: Sequence[Path]) -> SweptRun:
    """Run the command in a process of its own, which ends with this one."""
    words = [*run.command, f"run_dir={folder}", *run.overrides]
    config = [word for path in files for word in ("--config", str(path))]
    command = [sys.executable, "-m", "driveforge.pipelines.cli", *words, *config]
    started = time.monotonic()
    with subprocess.Popen([sys.executable, str(supervise.__file__), *command], stdin=subprocess.PIPE) as process:
        status = process.wait()
    finished = replace(run, status=status, seconds=time.monotonic() - started)
    _write_run(folder, finished)
    return finished


def _read_runs(root: Path) -> Iterator[tuple[Path, SweptRun]]:
    for path in sorted(root.glob(f"*/{RECORD_FILE}")):
        if re.match(r"\d+-", path.parent.name):
            yield path.parent, read_record(path, SweptRun, "delete its folder to run it again")


def _write_run(folder: Path, run: SweptRun) -> None:
    write_atomic(folder / RECORD_FILE, json.dumps(asdict(run), indent=2).encode())


def _slug(swept: Sequence[str]) -> str:
    """``generate.sampler.num_steps=4`` as ``num_steps-4``."""
    words = (f"{key.rsplit('.', 1)[-1]}-{value}" for key, value in map(split_override, swept))
    return re.sub(r"[^A-Za-z0-9_.]+", "-", "-".join(words))[:_MAX_NAME].strip("-.")


def _row(folder: Path, run: SweptRun) -> dict[str, Any]:
    """What a combination gave: its exit status, and how many clips its folder holds."""
    settings = dict(split_override(override) for override in run.swept)
    row = {"run": folder.name, "settings": settings, "status": run.status, "seconds": round(run.seconds, 1)}
    return row | _count_clips(RunDir(folder))


def _count_clips(run: RunDir) -> dict[str, int]:
    counts = {}
    if (run.candidates / "_commits").is_dir():
        from driveforge.pipelines.generate.commit import CommitLog

        counts["candidates"] = sum(marker.num_samples for marker in CommitLog(run.candidates).read_markers())
    if run.verdicts.exists():
        import pyarrow.parquet as pq

        counts["accepted"] = (
            pq.read_table(run.verdicts, columns=["state"]).column("state").to_pylist().count("accepted")
        )
    return counts


def summary_table(rows: Sequence[dict[str, Any]]) -> Table:
    keys = list(dict.fromkeys(key for row in rows for key in row["settings"]))
    counts = [name for name in ("candidates", "accepted") if any(name in row for row in rows)]
    table = Table(title="Sweep", title_justify="left")
    for name in ("run", *(key.rsplit(".", 1)[-1] for key in keys), "result", "s", *counts):
        table.add_column(plain_text(name), justify="right" if name in ("s", *counts) else "left", overflow="fold")
    for row in rows:
        result = _FINISHED.get(row["status"], f"failed, exit status {row['status']}")
        values = (row["run"], *(row["settings"].get(key, "") for key in keys), result, f"{row['seconds']:.0f}")
        table.add_row(*map(plain_text, (*values, *(row.get(name, "") for name in counts))))
    return table
