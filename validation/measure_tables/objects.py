"""Measures of objects against their commanded boxes."""

from driveforge.validation.measure_definition import MeasureDefinition, Row, define
from driveforge.validation.units import DEG, OUTLIER_SCORE, RATIO, SHARE, SIZE

# By suffix of the name. Vehicles and people have the same measures, with separate limits; the appearance of people
# is not measured, since they do not fill the faces of their boxes.
_OBJECT_ROWS = (
    Row("residual", RATIO, "OBJECT_RESIDUAL", "does not move with its box"),
    Row("jump", SIZE, "OBJECT_JUMP", "jumps away from its box"),
    Row("drift", DEG, "OBJECT_DRIFT", "drifts away from its box"),
    Row("scale", RATIO, "OBJECT_SCALE", "grows or shrinks differently from its box"),
    Row("unsupported", SHARE, "OBJECT_MISSING", "is missing: nothing in its box moves with it"),
    Row("step", RATIO, "OBJECT_JUMP", "moves differently from its box in one step"),
    Row("departure", OUTLIER_SCORE, "OBJECT_DEPARTURE", "leaves its box from one frame to the next"),
    Row("appearance", OUTLIER_SCORE, "OBJECT_APPEARANCE", "changes its appearance"),
    Row("replaced", OUTLIER_SCORE, "OBJECT_REPLACED", "is replaced by something else in its box"),
)
OBJECT_SUFFIXES = {
    "object": tuple(row.name for row in _OBJECT_ROWS),
    "person": tuple(row.name for row in _OBJECT_ROWS if row.name != "appearance"),
}
_OBJECT_CAPTIONS = {
    "object_jump": "object offset from its box, in box sizes",
    "object_drift": "object drift from its box",
    "object_unsupported": "points in a box that do not move with it",
    "object_departure": "points that leave a box in one step",
    "person_jump": "person offset from the box, in box sizes",
    "person_unsupported": "points in a person's box not moving with it",
}


def _define_objects(group: str, subject: str) -> dict[str, MeasureDefinition]:
    rows = (
        row._replace(
            name=f"{group}_{row.name}",
            description=f"{subject} {row.description}",
            caption=_OBJECT_CAPTIONS.get(f"{group}_{row.name}", ""),
        )
        for row in _OBJECT_ROWS
        if row.name in OBJECT_SUFFIXES[group]
    )
    return define("objects", "objects.measures:object_measures", *rows)


# The reason why detections are not compared with the boxes of a clip.
NO_DETECTOR = "no detector given"

DEFINITIONS: dict[str, MeasureDefinition] = {
    **_define_objects("object", "the object"),
    **_define_objects("person", "the person or rider"),
    **define(
        "objects",
        "objects.detections:detection_measures",
        Row(
            "object_undetected",
            SHARE,
            "OBJECT_UNDETECTED",
            "a detector does not find the commanded vehicle",
            caption="commanded vehicle not detected",
        ),
        Row(
            "object_uncommanded",
            SHARE,
            "OBJECT_UNCOMMANDED",
            "a detector finds an object that nobody commanded",
            caption="detected object without a box",
        ),
        needs_command=True,
        not_applicable=(NO_DETECTOR,),
    ),
}
