"""Measures of frames over time."""

from driveforge.validation.measure_definition import MeasureDefinition, Row, define
from driveforge.validation.units import LOG_GAIN, RATIO, SHARE

DEFINITIONS: dict[str, MeasureDefinition] = {
    **define(
        "time",
        "temporal:still_measure",
        Row(
            "time_still",
            SHARE,
            "TIME_FROZEN",
            "the background is static although the camera is commanded to move",
            caption="static points while commanded to move",
        ),
        needs_command=True,
    ),
    **define(
        "time",
        "temporal:change_measures",
        Row(
            "time_duplicate",
            SHARE,
            "TIME_FROZEN",
            "a frame repeats the previous one",
            caption="smallest change in a step (100 %: a repeated frame)",
        ),
        Row(
            "time_cut",
            RATIO,
            "TIME_CUT",
            "the image jumps from one frame to the next",
            caption="largest change in a step, relative to the median",
        ),
    ),
    **define(
        "time",
        "temporal:acceleration_measure",
        Row("time_acceleration", RATIO, "TIME_ORDER", "the background motion is jerky"),
    ),
    **define(
        "time",
        "temporal:track_loss_measure",
        Row(
            "time_track_loss",
            SHARE,
            "TRACK_LOSS",
            "points cannot be tracked to the next frame",
            caption="points lost in one step",
        ),
    ),
    **define(
        "time",
        "temporal:photometric_measures",
        Row("time_flicker_global", LOG_GAIN, "TIME_FLICKER", "the brightness flickers"),
        Row("time_flicker_local", LOG_GAIN, "TIME_FLICKER", "the brightness flickers locally"),
        Row("time_boil", SHARE, "TIME_BOIL", "surface textures boil"),
    ),
}
