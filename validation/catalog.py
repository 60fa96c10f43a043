"""Every measure: its name, family, unit, reason code and descriptions, and the function that computes it.

To add a measure, write a function of a ``TrackedView`` (of all views of a clip for the family ``cameras``) that returns
it, and add a row here. This is the only list: measuring, calibration, verdicts and pictures use it.
"""

from driveforge.datasets.errors import UserError, shorten
from driveforge.validation.measure_definition import CRITERIA, MeasureDefinition, Row, define
from driveforge.validation.units import DEG, DEG_PER_S, LOG_GAIN, LOG_SCALE, OUTLIER_SCORE, PX, RATIO, SHARE, SIZE, M

# Reasons why one group of measures does not apply to a clip; those of many measures are in ``records``.
NO_CAMERA_HEIGHT = "height of the camera above the ground unknown"
CAMERA_NOT_ALONG_ROAD = "camera does not look along the road"
ROAD_HIDDEN = "road out of view or behind boxes"
NO_PARKED_BOXES = "no parked boxes in view"
NO_POSE_NETWORK = "no pose network given"
NO_COLMAP_CHECK = "no COLMAP check requested"
TOO_FEW_ROWS = "too few rows for a COLMAP check"
ONE_CAMERA = "one camera"
NO_OVERLAP = "cameras do not overlap"

# By suffix of the name. Vehicles and people have the same measures, with separate limits; the appearance of people
# is not measured, since they do not fill the faces of their boxes.
_OBJECT_ROWS = (
    Row("residual", RATIO, "OBJECT_RESIDUAL", "does not move with its box"),
    Row("jump", SIZE, "OBJECT_JUMP", "jumps away from its box"),
    Row("drift", DEG, "OBJECT_DRIFT", "drifts away from its box"),
    Row("scale", RATIO, "OBJECT_SCALE", "grows or shrinks differently from its box"),
    Row("unsupported", SHARE, "OBJECT_MISSING", "is missing: nothing in its box moves with it"),
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
    **define(
        "pose",
        "camera.pose_measures:pose_measures",
        Row(
            "pose_yaw",
            DEG_PER_S,
            "POSE_YAW",
            "the camera yaws at a different rate than commanded",
            caption="yaw rate error",
        ),
        Row(
            "pose_rotation",
            DEG,
            "POSE_ROTATION",
            "the camera rotates differently than commanded",
            caption="rotation error",
        ),
        Row(
            "pose_translation",
            DEG,
            "POSE_TRANSLATION",
            "the camera moves in a different direction than commanded",
            caption="translation direction error",
        ),
        needs_command=True,
    ),
    **define(
        "pose",
        "camera.scale:road_scale_measure",
        Row(
            "pose_scale_road",
            LOG_SCALE,
            "POSE_SCALE",
            "the camera passes over the road at a different speed than commanded",
            caption="speed error over the road",
        ),
        needs_command=True,
        not_applicable=(NO_CAMERA_HEIGHT, CAMERA_NOT_ALONG_ROAD, ROAD_HIDDEN),
    ),
    **define(
        "pose",
        "camera.scale:parked_scale_measure",
        Row(
            "pose_scale_boxes",
            LOG_SCALE,
            "POSE_SCALE",
            "the camera passes parked boxes at a different speed than commanded",
            caption="speed error past parked boxes",
        ),
        needs_command=True,
        not_applicable=(NO_PARKED_BOXES,),
    ),
    **define(
        "pose",
        "camera.pose_network:pose_network_measures",
        Row("pose_network_rotation", DEG, "POSE_ROTATION", "a pose network finds a different rotation than commanded"),
        Row(
            "pose_network_translation",
            DEG,
            "POSE_TRANSLATION",
            "a pose network finds a different direction than commanded",
        ),
        needs_command=True,
        not_applicable=(NO_POSE_NETWORK,),
    ),
    **define(
        "pose",
        "camera.colmap_check:colmap_measures",
        Row("pose_map_unregistered", SHARE, "POSE_MAP", "frames cannot be registered in one map of the static scene"),
        Row("pose_map_path", M, "POSE_MAP", "mapping finds the camera on a different path than commanded"),
        needs_command=True,
        not_applicable=(NO_COLMAP_CHECK, TOO_FEW_ROWS),
    ),
    **_define_objects("object", "the object"),
    **_define_objects("person", "the person or rider"),
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


def get_definition(name: str) -> MeasureDefinition:
    """The definition of a measure, with or without a camera in front (``CAM_BACK/track_epipolar``).

    Raises UserError if the catalog has no such measure.
    """
    definition = DEFINITIONS.get(name.rpartition("/")[2])
    if definition is None:
        raise UserError(f"{shorten(name)} is not a measure: validation/catalog.py has no row for it")
    return definition


def criterion_of(name: str) -> str:
    """The criterion that a measure counts toward."""
    family = get_definition(name).family
    return next(criterion for criterion, families in CRITERIA.items() if family in families)
