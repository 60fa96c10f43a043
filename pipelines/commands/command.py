"""What the command line knows of a command."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Argument = tuple[tuple[str, ...], Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """One command: ``arguments`` are those of argparse, ``sections`` the parts of the configuration that it reads.

    ``module`` holds its ``main``, and is imported when the command is called. ``presets`` are its own settings; those
    on the command line come on top. ``run_dir`` says what the command does to the run folder: nothing; it reads what is
    there; it goes on with one that is there; or it may begin one.
    """

    name: str
    module: str
    summary: str
    description: str
    examples: tuple[str, ...]
    run_dir: Literal["unused", "read", "existing", "create"] = "unused"
    sections: tuple[str, ...] = ()
    presets: tuple[str, ...] = ()
    usage: str = ""
    arguments: tuple[Argument, ...] = ()
