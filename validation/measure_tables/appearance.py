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
    **define(
        "appearance",
        "appearance.detail:detail_measures",
        Row(
            "detail_loss",
            RATIO,
            "DETAIL_LOST",
            "the image loses detail",
            caption="detail of a surface, earlier over later",
        ),
        Row("detail_loss_region", RATIO, "DETAIL_LOST", "regions of the image lose detail"),
        Row("detail_gain", RATIO, "DETAIL_GAINED", "noise or texture appears on surfaces"),
    ),
    **define(
        "appearance",
        "appearance.objects:object_appearance_measures",
        Row(
            "object_texture",
            RATIO,
            "OBJECT_CHANGED",
            "the object differs from its own best view",
            caption="difference of an object from its best view, in contrasts",
        ),
        Row("object_detail_loss", RATIO, "OBJECT_MELTED", "the object loses its detail"),
        Row("object_swim", RATIO, "OBJECT_SWIMS", "the texture of the object changes from frame to frame"),
    ),
}
