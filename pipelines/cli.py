"""The command line ``driveforge``: one command per stage, followed by settings as KEY=VALUE.

The module of a command is imported only when the command is called, so that help is fast.
"""

import argparse
import importlib
import multiprocessing
import os
import re
import sys
import textwrap
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import find_write_error
from driveforge.pipelines.commands.catalog import COMMANDS
from driveforge.pipelines.commands.command import Command
from driveforge.pipelines.config.build import with_suggestion
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.config.help import WIDTH, settings_help
from driveforge.pipelines.console import print_message, shown_as
from driveforge.pipelines.inputs.settings import overrides_at
from driveforge.pipelines.processes.signals import interruptible

_OVERRIDE = re.compile(r"[A-Za-z_][\w.]*=")

# Set before numpy, torch or Ray is imported. Spinning threads slow down shared cores many times; the rest disables
# banners, warnings, telemetry and downloads of libraries.
_ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "KMP_BLOCKTIME": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
    "HF_HUB_OFFLINE": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "PYGAME_HIDE_SUPPORT_PROMPT": "1",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    # Failed calls are queued in a file; MLflow's retries would block for minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit status."""
    return exit_status_of(partial(_run_argv, list(sys.argv[1:] if argv is None else argv)))


def exit_status_of(work: Callable[[], int]) -> int:
    """The exit status of ``work``: 2 after a UserError, which is printed; 143 or 130 after SIGTERM or SIGINT."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with interruptible() as stop:
        try:
            return work()
        except BaseException as error:
            # Libraries convert an interruption to other errors.
            if stop.signum is not None or isinstance(error, KeyboardInterrupt):
                for process in multiprocessing.active_children():
                    process.kill()
                print_message("interrupted")
                return stop.status
            if isinstance(error, UserError):
                print_message(str(error))
                return 2
            raise


def _run_argv(argv: list[str]) -> int:
    # Settings are removed first, so that they may appear before, between or after options.
    overrides = [word for word in argv if _OVERRIDE.match(word)]
    words = [word for word in argv if not _OVERRIDE.match(word)]
    commands = {command.name: command for command in COMMANDS}
    if words and not words[0].startswith("-") and words[0] not in commands:
        raise UserError(with_suggestion(f"no command {words[0]!r}", words[0], commands))
    args = _parser().parse_args(words or ["--help"])
    path_overrides = overrides_at(args.path, overrides) if getattr(args, "path", None) else []
    if getattr(args, "folder", None) is not None:
        overrides.append(f"run_dir={args.folder}")
    command = commands[args.command]
    if command.reads_overrides:
        args.overrides = overrides
        overrides = [override for override in overrides if override.startswith("run_dir=")]
    return _run_in_store(command, args, [*path_overrides, *map(command.expand, overrides)])


def _run_in_store(command: Command, args: argparse.Namespace, overrides: Sequence[str]) -> int:
    """Run a command; if its run folder is in an object store, in a working copy, which is uploaded at the end."""
    from driveforge.datasets.stores.errors import StoreError
    from driveforge.datasets.stores.location import cache_folder
    from driveforge.datasets.stores.working_copy import working_copy
    from driveforge.pipelines.run_dir import split_url

    url, overrides = split_url(overrides)
    if not url or command.run_dir == "unused":
        return _run_command(command, args, overrides)
    if os.environ.get("TORCHELASTIC_RUN_ID"):
        raise UserError(f"run_dir={url}: a fine-tune on several GPUs needs a local run folder")
    skipped = () if "model" in command.sections else ("model",)
    with shown_as(cache_folder(url), url), working_copy(url, skipped, print_message) as copy:
        try:
            status = _run_command(command, args, overrides, copy.upload)
        except StoreError:
            raise
        except BaseException as error:
            if command.run_dir != "read":
                with suppress(UserError):
                    copy.upload()
            if isinstance(error, UserError):
                raise UserError(str(error).replace(str(copy.folder), url)) from error
            raise
        if command.run_dir != "read":
            copy.upload()
        return status


def _run_command(
    command: Command, args: argparse.Namespace, overrides: Sequence[str], save: Callable[[], None] = lambda: None
) -> int:
    """Run a command with the settings of its run folder, of files and of the command line; returns the exit status.

    ``save`` is called when the settings are saved, before the work starts.
    """
    from driveforge.pipelines import run_dir
    from driveforge.pipelines.config import saved
    from driveforge.pipelines.config.compose import group_choices, resolve, resolve_run_dir, settings_layer
    from driveforge.pipelines.config.inputs import require_inputs
    from driveforge.pipelines.config.layers import layer_of_overrides, read_settings_file
    from driveforge.pipelines.registry.models import require_clip_size
    from driveforge.pipelines.tracking.store import find_store, require_reachable

    groups = group_choices()
    given = [settings_layer(read_settings_file(path), str(path)) for path in args.config]
    given.append(layer_of_overrides(overrides, groups))
    presets = layer_of_overrides(command.presets, groups)
    if command.run_dir == "unused":
        return _run_stage(command, resolve([presets, *given]).config, args)
    folder = resolve_run_dir([presets, *given])
    # A model given by its path need not be in a run folder.
    if command.run_dir == "existing" and getattr(args, "candidate", None) is None:
        run_dir.require_run(folder)
    # Under torchrun only rank 0 writes. It does not wait for the lock, since the other ranks would not wait with it:
    # it fails, and torchrun ends the others.
    is_distributed = bool(os.environ.get("TORCHELASTIC_RUN_ID"))
    if command.run_dir == "read" or (is_distributed and os.environ["RANK"] != "0"):
        loaded = saved.resolve_settings(folder, command.presets, given)
        args.resolved = loaded.resolved
        return _run_stage(command, loaded.config, args)
    with run_dir.run_dir_lock(folder, blocking=not is_distributed):
        loaded = saved.resolve_settings(folder, command.presets, given)
        config = loaded.config
        if command.run_dir == "create":
            run_dir.warn_if_similar(folder)
        if command.name != "demo":  # the demo creates its inputs
            require_inputs(config, command.sections)
        if {"data", "model"} <= set(command.sections):
            only_generates = "finetune" not in command.sections and {"generate", "validate"} & set(command.sections)
            require_clip_size(config, trains=not only_generates)
        if "tracking" in command.sections:
            require_reachable(find_store(config.run, config.tracking).uri)
        with saved.settings_transaction(config, loaded.previous, creates_run=command.run_dir == "create"):
            save()
            return _run_stage(command, config, args)


def _run_stage(command: Command, config: Config, args: argparse.Namespace) -> int:
    _silence_libraries()
    from driveforge.datasets.progress import log_progress

    stage = importlib.import_module(command.module)
    with log_progress(command.name):
        try:
            return int(stage.main(config, args) or 0)
        except Exception as error:
            if isinstance(error, UserError) or (refusal := find_write_error(error, config.run_dir)) is None:
                raise
            raise refusal from error


def _silence_libraries() -> None:
    """Hide warnings of libraries, so that the terminal shows progress and results; errors are still shown."""
    import logging
    import warnings

    warnings.simplefilter("ignore")
    for name in ("alembic", "diffusers", "httpx", "lightning", "lightning.pytorch", "mlflow", "ray", "transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


class _CommandParser(_Parser):
    """The parser of one command; its list of settings is composed only for the help."""

    def __init__(self, *, command: Command, **options: Any) -> None:
        formatter = partial(argparse.RawDescriptionHelpFormatter, width=WIDTH)
        super().__init__(formatter_class=formatter, allow_abbrev=False, **options)
        self.command = command
        self._positionals.title = "arguments"
        self.prog = f"driveforge {command.name}"
        self.usage = f"{self.prog}{command.usage} [KEY=VALUE ...]"
        summary = f"{command.summary[0].upper()}{command.summary[1:]}."
        paragraphs = [summary, *command.description.split("\n\n")]
        self.description = "\n\n".join(textwrap.fill(paragraph, WIDTH) for paragraph in paragraphs)
        for flags, argument in command.arguments:
            self.add_argument(*flags, **argument)
        self.add_argument(
            "--config",
            type=Path,
            action="append",
            default=[],
            metavar="FILE",
            help="YAML file of settings; those of the command line replace them",
        )

    def format_help(self) -> str:
        return f"{super().format_help()}\n{settings_help(self.command)}"


class _CommandListFormatter(argparse.HelpFormatter):
    def _format_action(self, action: argparse.Action) -> str:
        text = super()._format_action(action)
        # Without the line of the metavar, whose width only aligns the second column.
        return text.partition("\n")[2] if isinstance(action, argparse._SubParsersAction) else text


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="driveforge",
        usage="driveforge COMMAND [KEY=VALUE ...]",
        description="Generates synthetic driving clips for training perception models.",
        epilog="driveforge COMMAND --help describes a command, with examples and all of its settings.",
        formatter_class=partial(_CommandListFormatter, max_help_position=16, width=WIDTH),
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"driveforge {version('driveforge')}")
    subparsers = parser.add_subparsers(
        dest="command", metavar="COMMAND".ljust(11), title="commands", required=True, parser_class=_CommandParser
    )
    for command in COMMANDS:
        subparsers.add_parser(command.name, help=command.summary, command=command)
    return parser


if __name__ == "__main__":
    sys.exit(main())
