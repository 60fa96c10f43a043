"""The record that defines a measure, the families of measures, and the criteria that a clip is tested by."""

from dataclasses import dataclass
from typing import NamedTuple

from driveforge.datasets.errors import UserError
from driveforge.validation.units import Unit

FAMILIES = ("tracks", "pose", "objects", "time", "appearance", "learned", "cameras")
# A clip is tested by three criteria, each with the same share of the false rejects: whether it follows its command,
# whether it looks right, and whether a network that was trained on failures finds it right.
CRITERIA = {
    "command": ("tracks", "pose", "objects", "time", "cameras"),
    "appearance": ("appearance",),
    "learned": ("learned",),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasureDefinition:
    """The static properties of a measure. For all measures, lower is better.

    ``description`` completes the sentence "In frames 4 to 8 …" for a reviewer. ``caption`` names the value in a picture
    without limits; "" omits the measure. ``function`` is the import path of the function that computes it;
    if it ``needs_command``, it is called only for cameras with a pose. A value that is missing for one of the
    ``not_applicable`` reasons does not count against a clip.
    """

    name: str
    family: str
    unit: Unit
    code: str
    description: str
    function: str
    caption: str = ""
    needs_command: bool = False
    not_applicable: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise UserError(f"measure {self.name}: family {self.family!r} is not one of {', '.join(FAMILIES)}")


class Row(NamedTuple):
    """The part of a definition that differs between the measures of one function."""

    name: str
    unit: Unit
    code: str
    description: str
    caption: str = ""


def define(
    family: str,
    function: str,
    *rows: Row,
    needs_command: bool = False,
    not_applicable: tuple[str, ...] = (),
) -> dict[str, MeasureDefinition]:
    """The measures that one function computes; ``function`` is its path below ``driveforge.validation``."""
    return {
        row.name: MeasureDefinition(
            name=row.name,
            family=family,
            unit=row.unit,
            code=row.code,
            description=row.description,
            function=f"driveforge.validation.{function}",
            caption=row.caption,
            needs_command=needs_command,
            not_applicable=not_applicable,
        )
        for row in rows
    }
