"""Every measure by name: its family, its unit, the reason code of a clip that breaks its limit, and words for it."""

from dataclasses import dataclass

FAMILIES = ("tracks", "pose", "objects", "time", "appearance", "cameras")
# A clip is held against two criteria, each with half of the false rejects: whether it follows its command, and whether
# it looks right.
CRITERIA = {"command": tuple(family for family in FAMILIES if family != "appearance"), "appearance": ("appearance",)}


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasureDefinition:
    """``description`` completes the sentence "In frames 4 to 8 …" for a reviewer. Of all measures, less is better."""

    name: str
    family: str
    unit: str
    code: str
    description: str


def _define(family: str, *rows: tuple[str, str, str, str]) -> dict[str, MeasureDefinition]:
    return {
        name: MeasureDefinition(name=name, family=family, unit=unit, code=code, description=description)
        for name, unit, code, description in rows
    }


# Suffix, unit, reason code, words. Vehicles and people have measures of the same names, and limits of their own; the
# looks of people are not judged by themselves, since no face of their box is one of theirs.
_OBJECT_ROWS = (
    ("residual", "ratio", "OBJECT_RESIDUAL", "does not move with its box"),
    ("jump", "size", "OBJECT_JUMP", "jumps away from its box"),
    ("drift", "deg", "OBJECT_DRIFT", "drifts away from its box"),
    ("scale", "ratio", "OBJECT_SCALE", "grows or shrinks otherwise than its box"),
    ("unsupported", "share", "OBJECT_MISSING", "is not in its box: nothing there moves with it"),
    ("departure", "outlier score", "OBJECT_DEPARTURE", "leaves its box from one frame to the next"),
    ("appearance", "outlier score", "OBJECT_APPEARANCE", "changes its looks"),
    ("replaced", "outlier score", "OBJECT_REPLACED", "gives way to something else in its box"),
)
OBJECT_SUFFIXES = {
    "object": tuple(suffix for suffix, *_ in _OBJECT_ROWS),
    "person": tuple(suffix for suffix, *_ in _OBJECT_ROWS if suffix != "appearance"),
}


def _define_objects(group: str, subject: str) -> dict[str, MeasureDefinition]:
    named = {suffix: (unit, code, f"{subject} {predicate}") for suffix, unit, code, predicate in _OBJECT_ROWS}
    return _define("objects", *((f"{group}_{suffix}", *named[suffix]) for suffix in OBJECT_SUFFIXES[group]))


# px are pixels of the image scaled to 256 rows; a share lies in 0..1; a size is the
# root of the area of the object's box; an outlier score is how far a share rises above what is
# usual of the object; a ratio compares with what is usual; a log
# scale is abs(log s) of the factor s on the commanded meters.
DEFINITIONS: dict[str, MeasureDefinition] = {
    **_define(
        "tracks",
        (
            "track_epipolar",
            "px",
            "TRACK_EPIPOLAR",
            "background tracks leave the epipolar lines of the commanded motion",
        ),
        ("track_epipolar_worst", "px", "TRACK_EPIPOLAR", "background tracks leave the commanded epipolar lines most"),
        ("track_epipolar_adjacent", "px", "TRACK_EPIPOLAR", "the background jitters about the commanded motion"),
        ("track_reprojection", "px", "TRACK_REPROJECTION", "no fixed 3-D points explain the background tracks"),
        ("track_reprojection_outliers", "share", "TRACK_REPROJECTION", "many background tracks are of no fixed point"),
        (
            "track_reprojection_region",
            "px",
            "TRACK_REPROJECTION",
            "in a region of the image no fixed 3-D points explain the tracks",
        ),
        ("track_cheirality", "share", "CHEIRALITY", "background tracks move the wrong way along their epipolar lines"),
        ("track_rigidity", "px", "TRACK_RIGIDITY", "a region of the background moves apart from the rest"),
        ("track_stationary", "px", "TRACK_STATIONARY", "the background moves though the camera was told to stand"),
    ),
    **_define(
        "pose",
        ("pose_yaw", "deg/s", "POSE_YAW", "the camera turns at another rate than commanded"),
        ("pose_rotation", "deg", "POSE_ROTATION", "the camera rotates otherwise than commanded"),
        ("pose_translation", "deg", "POSE_TRANSLATION", "the camera moves in another direction than commanded"),
        (
            "pose_scale_road",
            "log scale",
            "POSE_SCALE",
            "the camera passes over the road at another speed than commanded",
        ),
        (
            "pose_scale_boxes",
            "log scale",
            "POSE_SCALE",
            "the camera passes parked boxes at another speed than commanded",
        ),
        ("pose_network_rotation", "deg", "POSE_ROTATION", "a pose network sees another rotation than commanded"),
        ("pose_network_translation", "deg", "POSE_TRANSLATION", "a pose network sees another direction than commanded"),
        ("pose_map_unregistered", "share", "POSE_MAP", "frames do not fit into one map of what stands still"),
        ("pose_map_path", "m", "POSE_MAP", "mapping finds the camera on another path than commanded"),
    ),
    **_define_objects("object", "the object"),
    **_define_objects("person", "the person or rider"),
    **_define(
        "time",
        ("time_still", "share", "TIME_FROZEN", "the background stands still though the camera was told to move"),
        ("time_duplicate", "share", "TIME_FROZEN", "a frame repeats the one before"),
        ("time_cut", "ratio", "TIME_CUT", "the picture jumps from one frame to the next"),
        ("time_acceleration", "ratio", "TIME_ORDER", "the background moves in jerks"),
        ("time_track_loss", "share", "TRACK_LOSS", "points cannot be followed to the next frame"),
        ("time_flicker_global", "log gain", "TIME_FLICKER", "the brightness flickers"),
        ("time_flicker_local", "log gain", "TIME_FLICKER", "the brightness flickers from place to place"),
        ("time_boil", "share", "TIME_BOIL", "surfaces change their texture as they move"),
    ),
    **_define(
        "appearance",
        ("object_blockiness", "ratio", "OBJECT_BLOCKY", "the object is made of blocks that do not fit together"),
    ),
    **_define(
        "cameras",
        ("camera_unmatched", "share", "CAMERA_OVERLAP", "what two cameras both see does not match"),
        ("camera_chance", "share", "CAMERA_OVERLAP", "what two cameras both see matches as well in wrong places"),
        ("camera_depth", "share", "CAMERA_OVERLAP", "two cameras do not see the same at the depth that motion shows"),
    ),
}


def get_definition(name: str) -> MeasureDefinition:
    """The definition of a measure, of the reference view or (``CAM_BACK/track_epipolar``) of another camera or two."""
    return DEFINITIONS[name.rpartition("/")[2]]


def criterion_of(name: str) -> str:
    """The criterion that a measure speaks for."""
    family = get_definition(name).family
    return next(criterion for criterion, families in CRITERIA.items() if family in families)
