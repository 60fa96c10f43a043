"""Measures of the camera motion estimated from the pixels against the commanded one."""

from driveforge.validation.measure_definition import MeasureDefinition, Row, define
from driveforge.validation.units import DEG, DEG_PER_S, LOG_SCALE, SHARE, M

# Reasons why a measure does not apply to a clip.
NO_CAMERA_HEIGHT = "height of the camera above the ground unknown"
CAMERA_NOT_ALONG_ROAD = "camera does not look along the road"
ROAD_HIDDEN = "road out of view or behind boxes"
NO_PARKED_BOXES = "no parked boxes in view"
NO_POSE_NETWORK = "no pose network given"
NO_COLMAP_CHECK = "no COLMAP check requested"
TOO_FEW_ROWS = "too few rows for a COLMAP check"

DEFINITIONS: dict[str, MeasureDefinition] = {
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
}
