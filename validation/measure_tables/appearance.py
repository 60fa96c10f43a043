"""Measures of how a clip looks."""

from driveforge.validation.measure_definition import MeasureDefinition, Row, define
from driveforge.validation.units import LOG_DETAIL, LOG_STEP, RATIO


def _object_rows() -> list[Row]:
    """Vehicles and people have separate limits, since people move within their boxes."""
    rows = (
        Row("texture", RATIO, "OBJECT_CHANGED", "differs from its own best view", "difference from the best view"),
        Row("detail_loss", LOG_DETAIL, "OBJECT_MELTED", "loses its detail", "detail, earlier over later"),
        Row("swim", RATIO, "OBJECT_SWIMS", "changes its texture from frame to frame"),
    )
    return [
        row._replace(
            name=f"{group}_{row.name}",
            description=f"{subject} {row.description}",
            caption=row.caption and f"{label}: {row.caption}",
        )
        for group, subject, label in (("object", "the object", "object"), ("person", "the person or rider", "person"))
        for row in rows
    ]


DEFINITIONS: dict[str, MeasureDefinition] = {
    **define(
        "appearance",
        "appearance.blocks:block_measures",
        Row(
            "object_blockiness",
            RATIO,
            "OBJECT_BLOCKY",
            "the object shows block artifacts",
            caption="gray steps at block edges, relative to other positions",
        ),
        Row("object_grid", LOG_STEP, "OBJECT_BLOCKY", "the object shows a grid of blocks"),
    ),
    **define(
        "appearance",
        "appearance.detail:detail_measures",
        Row(
            "detail_loss",
            LOG_DETAIL,
            "DETAIL_LOST",
            "the image loses detail",
            caption="detail of a surface, earlier over later",
        ),
        Row("detail_loss_region", LOG_DETAIL, "DETAIL_LOST", "regions of the image lose detail"),
        Row("detail_gain", LOG_DETAIL, "DETAIL_GAINED", "noise or texture appears on surfaces"),
    ),
    **define("appearance", "appearance.objects:object_appearance_measures", *_object_rows()),
}
