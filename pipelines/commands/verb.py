"""What the command line knows of a verb."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Argument = tuple[tuple[str, ...], Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Verb:
    """One verb: ``arguments`` are those of argparse, ``sections`` the parts of the configuration that it reads.

    ``module`` holds its ``main``, and is imported when the verb is called. ``presets`` are settings of its own; those
    on the command line come on top. ``run_dir`` says what the verb does to the run folder: nothing; it reads what is
    there; it goes on with one that is there; or it may begin one.
    """

    name: str
    module: str
    summary: str
    description: str
    examples: tuple[str, ...]
    run_dir: Literal["unused", "read", "continued", "begun"] = "unused"
    sections: tuple[str, ...] = ()
    presets: tuple[str, ...] = ()
    usage: str = ""
    arguments: tuple[Argument, ...] = ()
