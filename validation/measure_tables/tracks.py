"""Measures of background point tracks against the commanded ego motion."""

from driveforge.validation.measure_definition import MeasureDefinition, Row, define
from driveforge.validation.units import PX, SHARE

DEFINITIONS: dict[str, MeasureDefinition] = {
    **define(
        "tracks",
        "camera.epipolar_measures:epipolar_measures",
        Row("track_epipolar", PX, "TRACK_EPIPOLAR", "background tracks leave the commanded epipolar lines"),
        Row(
            "track_epipolar_worst",
            PX,
            "TRACK_EPIPOLAR",
            "background tracks leave the commanded epipolar lines the most",
            caption="background deviation from the command, worst window",
        ),
        Row("track_epipolar_adjacent", PX, "TRACK_EPIPOLAR", "the background jitters around the commanded motion"),
        needs_command=True,
    ),
    **define(
        "tracks",
        "camera.triangulation:reprojection_measures",
        Row("track_reprojection", PX, "TRACK_REPROJECTION", "no fixed 3-D points explain the background tracks"),
        Row(
            "track_reprojection_outliers",
            SHARE,
            "TRACK_REPROJECTION",
            "many background tracks do not belong to fixed 3-D points",
        ),
        Row(
            "track_reprojection_region",
            PX,
            "TRACK_REPROJECTION",
            "in one region of the image no fixed 3-D points explain the tracks",
        ),
        needs_command=True,
    ),
    **define(
        "tracks",
        "camera.epipolar_measures:cheirality_measure",
        Row("track_cheirality", SHARE, "CHEIRALITY", "background tracks move backward along their epipolar lines"),
        needs_command=True,
    ),
    **define(
        "tracks",
        "camera.pose_measures:rigidity_measure",
        Row(
            "track_rigidity",
            PX,
            "TRACK_RIGIDITY",
            "a region of the background moves separately from the rest",
            caption="background that no camera motion explains",
        ),
        needs_command=True,
    ),
    **define(
        "tracks",
        "camera.epipolar_measures:stationary_measure",
        Row(
            "track_stationary",
            PX,
            "TRACK_STATIONARY",
            "the background moves although the camera is commanded to be stationary",
            caption="background motion while commanded to be stationary",
        ),
        needs_command=True,
    ),
}
