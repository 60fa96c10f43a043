"""Measures of a trained network."""

from driveforge.validation.measure_definition import MeasureDefinition, Row, define
from driveforge.validation.units import NAT

# Reasons why a measure does not apply to a clip.
LEARNED_OFF = "learned measures are off"

DEFINITIONS: dict[str, MeasureDefinition] = define(
    "learned",
    "learned.measures:artifact_measure",
    Row(
        "object_artifacts",
        NAT,
        "OBJECT_ARTIFACTS",
        "the object melts, smears or breaks up, as the artifact network rates it",
        caption="artifacts on an object",
    ),
    not_applicable=(LEARNED_OFF,),
)
