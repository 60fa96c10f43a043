"""The command ``driveforge``: one verb a stage, settings as KEY=VALUE behind it.

The module of a verb is imported only when the verb is called: help must come at once.
"""

import argparse
import importlib
import multiprocessing
import os
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import find_write_error
from driveforge.pipelines.commands.catalogue import VERBS
from driveforge.pipelines.commands.verb import Verb
from driveforge.pipelines.config.build import unknown
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.config.help import settings_help
from driveforge.pipelines.console import say
from driveforge.pipelines.processes.signals import stoppable

_OVERRIDE = re.compile(r"[A-Za-z_][\w.]*=")

# Set before numpy, torch or Ray is imported: threads that spin while they wait make a step many times slower where
# cores are shared, and libraries that greet, nag or call home drown what we have to say.
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
    # What MLflow does not take waits in a file; its own patience would hold up the work for minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; its exit status."""
    return status_of(partial(_run, list(sys.argv[1:] if argv is None else argv)))


def status_of(work: Callable[[], int]) -> int:
    """The exit status of ``work``: 2 for a wrong input, told in a line, 143 or 130 where SIGTERM or SIGINT ended it."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with stoppable() as stop:
        try:
            return work()
        except BaseException as error:
            # Whatever a library makes of an interruption, it was one.
            if stop.signum is not None or isinstance(error, KeyboardInterrupt):
                for process in multiprocessing.active_children():
                    process.kill()
                say("interrupted")
                return stop.status
            if isinstance(error, UserError):
                say(str(error))
                return 2
            raise


def _run(argv: list[str]) -> int:
    # Settings are taken out first, so that they may stand before, between or behind options.
    overrides = [word for word in argv if _OVERRIDE.match(word)]
    words = [word for word in argv if not _OVERRIDE.match(word)]
    verbs = {verb.name: verb for verb in VERBS}
    if words and not words[0].startswith("-") and words[0] not in verbs:
        raise UserError(unknown(f"no verb {words[0]!r}", words[0], verbs))
    args = _parser().parse_args(words or ["--help"])
    found = _tables_at(args.path) if getattr(args, "path", None) else []
    return _perform(verbs[args.verb], args, [*found, *overrides])


def _perform(verb: Verb, args: argparse.Namespace, overrides: Sequence[str]) -> int:
    """The status of the verb's work, under the settings of its run folder and of the command line."""
    from driveforge.pipelines import run_dir
    from driveforge.pipelines.config import saved
    from driveforge.pipelines.config.compose import compose, run_dir_of
    from driveforge.pipelines.config.inputs import require_inputs
    from driveforge.pipelines.tracking.store import find_store, require_answer

    if verb.run_dir == "unused":
        return _work(verb, compose([*verb.presets, *overrides]), args)
    folder = run_dir_of([*verb.presets, *overrides])
    # A model that is named need not lie in a run folder.
    if verb.run_dir == "continued" and getattr(args, "candidate", None) is None:
        run_dir.require_run(folder)
    # Of the processes that torchrun started, the first one writes. It does not wait for another command, since the
    # others would not wait with it: it is refused, and torchrun ends them.
    is_one_of_many = bool(os.environ.get("TORCHELASTIC_RUN_ID"))
    if verb.run_dir == "read" or (is_one_of_many and os.environ["RANK"] != "0"):
        config, _ = saved.settings_of(folder, verb.presets, overrides)
        return _work(verb, config, args)
    with run_dir.sole_writer(folder, blocking=not is_one_of_many):
        config, before = saved.settings_of(folder, verb.presets, overrides)
        if verb.run_dir == "begun":
            run_dir.say_if_mistyped(folder)
        if verb.name != "demo":  # which makes what it reads
            require_inputs(config, verb.sections)
        if "tracking" in verb.sections:
            require_answer(find_store(config.run, config.tracking).uri)
        with saved.kept_settings(config, before, begins=verb.run_dir == "begun"):
            return _work(verb, config, args)


def _work(verb: Verb, config: Config, args: argparse.Namespace) -> int:
    _quiet()
    from driveforge.datasets.progress import log_progress

    stage = importlib.import_module(verb.module)
    with log_progress(verb.name):
        try:
            return int(stage.main(config, args) or 0)
        except Exception as error:
            if isinstance(error, UserError) or (refusal := find_write_error(error, config.run_dir)) is None:
                raise
            raise refusal from error


def _tables_at(path: Path) -> list[str]:
    """The data group for nuScenes tables that lie at ``path``, so that its other settings can be given beside it."""
    versions = sorted(folder.name for folder in path.glob("v1.0-*") if folder.is_dir())
    if not versions:
        return []
    return ["data=nuscenes", f"data.root={path}", *([f"data.version={versions[0]}"] if len(versions) == 1 else [])]


def _quiet() -> None:
    """Leave the terminal to progress bars and results: warnings of libraries go nowhere, their errors still show."""
    import logging
    import warnings

    warnings.simplefilter("ignore")
    for name in ("alembic", "diffusers", "httpx", "lightning", "lightning.pytorch", "mlflow", "ray", "transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


class _VerbParser(_Parser):
    """The parser of one verb; its examples and settings are put together only when help is asked for."""

    def __init__(self, *, verb: Verb, **options: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options)
        self.verb = verb
        self.prog = f"driveforge {verb.name}"
        self.usage = f"{self.prog}{verb.usage} [KEY=VALUE ...]"
        self.description = f"{verb.summary[0].upper()}{verb.summary[1:]}.\n\n{verb.description}"
        for flags, argument in verb.arguments:
            self.add_argument(*flags, **argument)

    def format_help(self) -> str:
        return f"{super().format_help()}\n{settings_help(self.verb)}"


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="driveforge",
        usage="driveforge VERB [KEY=VALUE ...]",
        description="Synthetic driving clips that a perception team may train on.",
        epilog="driveforge VERB --help shows what a verb does, examples and its settings.",
        formatter_class=partial(argparse.HelpFormatter, max_help_position=16),
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"driveforge {version('driveforge')}")
    commands = parser.add_subparsers(
        dest="verb", metavar="VERB        ", title="verbs", required=True, parser_class=_VerbParser
    )
    for verb in VERBS:
        commands.add_parser(verb.name, help=verb.summary, verb=verb)
    return parser


if __name__ == "__main__":
    sys.exit(main())
