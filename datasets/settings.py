"""Field annotations of settings records: ``Annotated[int, "help text", Range(1)]``.

A settings record is defined next to the code that it configures and has no defaults: the defaults are in the YAML files
of ``conf/``. The help text is printed by ``driveforge COMMAND --help``. Settings modules import no heavy code, so help
and configuration errors appear without delay.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from driveforge.datasets.errors import UserError


@dataclass(frozen=True)
class Range:
    """Inclusive limits of a number. With a ``step``, only low, low + step, low + 2 step and so on are valid."""

    low: float
    high: float = math.inf
    step: float = 0

    def check(self, value: float, where: str) -> None:
        """Raise UserError naming ``where`` if ``value`` is not valid."""
        allowed = f"{self.low:g} or more" if self.high == math.inf else f"from {self.low:g} to {self.high:g}"
        if not self.low <= value <= self.high:
            raise UserError(f"{where} must be {allowed}, got {value:g}")
        if self.step and (beyond := (value - self.low) % self.step):
            below = value - beyond
            raise UserError(
                f"{where} must be {allowed} in steps of {self.step:g}, got {value:g}; "
                f"use {below:g} or {below + self.step:g}"
            )


@dataclass(frozen=True)
class Notation:
    """A setting that is written in a notation of its own: ``parse(value, key)`` returns its value."""

    parse: Callable[[Any, str], Any]
