"""Measures of overlapping cameras against each other."""

from driveforge.validation.measure_definition import MeasureDefinition, Row, define
from driveforge.validation.units import SHARE

# Reasons why a measure does not apply to a clip.
ONE_CAMERA = "one camera"
NO_OVERLAP = "cameras do not overlap"

DEFINITIONS: dict[str, MeasureDefinition] = {
    **define(
        "cameras",
        "camera.overlap:overlap_measures",
        Row(
            "camera_unmatched",
            SHARE,
            "CAMERA_OVERLAP",
            "the overlapping images of two cameras do not match",
            caption="mismatch between overlapping cameras",
        ),
        Row("camera_chance", SHARE, "CAMERA_OVERLAP", "overlapping images match equally well in wrong places"),
        Row("camera_depth", SHARE, "CAMERA_OVERLAP", "overlapping images do not match at the depth that motion shows"),
        not_applicable=(ONE_CAMERA, NO_OVERLAP),
    ),
}
