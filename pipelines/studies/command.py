"""The command line of a study: ``python -m driveforge.pipelines.studies.NAME [KEY=VALUE ...] [--out FILE]``."""

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Protocol, TypeVar, get_type_hints

import yaml

from driveforge.datasets.errors import UserError
from driveforge.datasets.progress import log_progress
from driveforge.pipelines.cli import exit_status_of
from driveforge.pipelines.config.build import build, with_suggestion
from driveforge.pipelines.config.help import format_setting
from driveforge.pipelines.run_dir import run_dir_lock


class StudySettings(Protocol):
    """The settings of a study, with the folder of its results."""

    @property
    def run_dir(self) -> Path: ...


Settings = TypeVar("Settings", bound=StudySettings)


def load_settings(record: type[Settings], overrides: Sequence[str] = ()) -> Settings:
    """The settings in ``settings.yaml`` of the study, with ``overrides`` such as ``seed=3``."""
    values = _defaults(record)
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or key not in values:
            raise UserError(with_suggestion(f"no setting {override!r}", key, values))
        values[key] = value
    return build(record, values)


def run_study(
    record: type[Settings],
    study: Callable[[Settings, Path], None],
    about: str,
    argv: Sequence[str] | None = None,
    *,
    out: Path | None = None,
) -> int:
    """Run a study from the command line; returns the exit status. ``out`` is its default file, or a page in docs."""
    name = record.__module__.split(".")[-2]
    default_out = out or Path("docs") / f"study-{name}.md"
    hints = get_type_hints(record, include_extras=True)
    rows = [format_setting(key, value, hints[key]) for key, value in _defaults(record).items()]
    parser = argparse.ArgumentParser(
        prog=f"python -m driveforge.pipelines.studies.{name}",
        description=about,
        epilog="\n".join(["settings:", *rows]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    parser.add_argument(
        "--out",
        type=Path,
        default=default_out,
        metavar="FILE",
        help=f"file of results; default: {default_out}",
    )
    args = parser.parse_intermixed_args(sys.argv[1:] if argv is None else argv)

    def work() -> int:
        settings = load_settings(record, args.settings)
        with run_dir_lock(settings.run_dir), log_progress("study"):
            study(settings, args.out)
        return 0

    return exit_status_of(work)


def _defaults(record: type[Any]) -> dict[str, Any]:
    folder = record.__module__.rpartition(".")[0]
    values = yaml.safe_load((resources.files(folder) / "settings.yaml").read_text("utf-8"))
    assert isinstance(values, dict)
    return values
