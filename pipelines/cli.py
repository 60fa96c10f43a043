"""The command ``driveforge``: one verb a stage, settings as KEY=VALUE behind it.

A verb's work stands in the module of its name, which is imported only when it runs: help must come at once.
"""

import argparse
import importlib
import os
import re
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from pipelines.own_packages import require_own_datasets

require_own_datasets()  # before anything of it is imported

from datasets.errors import UserError  # noqa: E402
from pipelines.settings.build import unknown  # noqa: E402
from pipelines.verbs import VERBS, Verb, settings_help  # noqa: E402

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
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status: 2 for a wrong input, 130 when interrupted."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        return _run(list(sys.argv[1:] if argv is None else argv))
    except UserError as error:
        print(f"driveforge: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("driveforge: interrupted", file=sys.stderr)
        return 130


def _run(argv: list[str]) -> int:
    # Settings are taken out first, so that they may stand before, between or behind options.
    overrides = [word for word in argv if _OVERRIDE.match(word)]
    words = [word for word in argv if not _OVERRIDE.match(word)]
    verbs = {verb.name: verb for verb in VERBS}
    if words and not words[0].startswith("-") and words[0] not in verbs:
        raise UserError(unknown(f"no verb {words[0]!r}", words[0], verbs))
    args = _parser().parse_args(words or ["--help"])
    from pipelines.settings.compose import compose

    found = _tables_at(args.path) if getattr(args, "path", None) else []
    config = compose([*verbs[args.verb].presets, *found, *overrides])
    _quiet()
    stage = importlib.import_module(f"pipelines.{args.verb}")
    return int(stage.main(config, args) or 0)


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
    commands = parser.add_subparsers(
        dest="verb", metavar="VERB        ", title="verbs", required=True, parser_class=_VerbParser
    )
    for verb in VERBS:
        commands.add_parser(verb.name, help=verb.summary, verb=verb)
    return parser


if __name__ == "__main__":
    sys.exit(main())
