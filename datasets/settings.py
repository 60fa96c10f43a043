"""What a settings record says of its fields: ``Annotated[int, "help text", Range(1)]``.

A record stands beside the code that it configures and has no defaults: those stand once, in the YAML files of
``conf/``. The text beside a type is what ``driveforge COMMAND --help`` prints. Modules of settings import nothing
heavy, so that help and configuration errors come at once.
"""

import math
from dataclasses import dataclass

from driveforge.datasets.errors import UserError


@dataclass(frozen=True)
class Range:
    """Limits of a number, both included. With a ``step`` only low, low + step, low + 2 step and so on are valid."""

    low: float
    high: float = math.inf
    step: float = 0

    def check(self, value: float, where: str) -> None:
        """A UserError that names ``where`` if ``value`` is outside."""
        wanted = f"{self.low:g} or more" if self.high == math.inf else f"from {self.low:g} to {self.high:g}"
        if not self.low <= value <= self.high:
            raise UserError(f"{where} must be {wanted}, got {value:g}")
        if self.step and (beyond := (value - self.low) % self.step):
            below = value - beyond
            raise UserError(
                f"{where} must be {wanted} in steps of {self.step:g}, got {value:g}; "
                f"take {below:g} or {below + self.step:g}"
            )
