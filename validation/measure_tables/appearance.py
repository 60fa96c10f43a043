"""Measures of how a clip looks."""

from driveforge.validation.measure_definition import MeasureDefinition, Row, define
from driveforge.validation.units import RATIO

DEFINITIONS: dict[str, MeasureDefinition] = {
    **define(
        "appearance",
        "objects.measures:blockiness_measure",
        Row(
            "object_blockiness",
            RATIO,
            "OBJECT_BLOCKY",
            "the object shows block artifacts",
            caption="gray steps at block edges, relative to other positions",
        ),
    ),
}
