"""The description of a command."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Argument = tuple[tuple[str, ...], Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """One command: ``arguments`` are those of argparse, ``sections`` the parts of the configuration that it reads.

    ``module`` is imported when the command is called, and its ``main`` is run. ``presets`` are settings that the
    command line overrides. ``run_dir`` is how the command uses the run folder: it does not use it, only reads it,
    requires an existing run, or may create one. ``description`` holds paragraphs, which the help wraps. ``short_keys``
    are short names of settings on its command line. A command that ``reads_overrides`` finds its settings as they are
    written in ``args.overrides``.
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
    short_keys: Mapping[str, str] = field(default_factory=dict)
    reads_overrides: bool = False

    def expand(self, override: str) -> str:
        """``override`` with the full key of the setting, if it has a short one."""
        key, equals, value = override.partition("=")
        return self.short_keys.get(key, key) + equals + value
