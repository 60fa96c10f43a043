"""Measures of how a clip looks."""

from driveforge.validation.measure_definition import MeasureDefinition, Row, define
from driveforge.validation.units import NAT, RATIO

# Reasons why a measure does not apply to a clip.
LEARNED_OFF = "learned measures are off"

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
    **define(
        "appearance",
        "learned.measures:artifact_measure",
        Row(
            "object_artifacts",
            NAT,
            "OBJECT_ARTIFACTS",
            "the object melts, smears or breaks up, as the artifact network rates it",
            caption="artifacts on an object",
        ),
        not_applicable=(LEARNED_OFF,),
    ),
}
