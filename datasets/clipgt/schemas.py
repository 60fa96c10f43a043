"""The columns of ClipGT tables, as Arrow schemas."""

import pyarrow as pa

_POINT = pa.struct([(axis, pa.float64()) for axis in "xyz"])
_QUATERNION = pa.struct([(axis, pa.float64()) for axis in "xyzw"])
_POINTS = pa.list_(_POINT)
_TEXT, _TEXTS = pa.string(), pa.list_(pa.string())


def _schema(name: str, key: dict[str, pa.DataType], value: dict[str, pa.DataType]) -> pa.Schema:
    columns = {"key": pa.struct(list(key.items())), name: pa.struct(list(value.items())), "version": pa.uint64()}
    return pa.schema(list(columns.items()))


def _map_schema(name: str, value: dict[str, pa.DataType]) -> pa.Schema:
    return _schema(name, dict.fromkeys(("clip_id", "label_class_id", "map_id", "map_id_version"), _TEXT), value)


_CLIP_KEY = {"clip_id": _TEXT, "timestamp_micros": pa.int64()}

SCHEMAS: dict[str, pa.Schema] = {
    "obstacle": _schema(
        "obstacle",
        {**_CLIP_KEY, "label_class_id": _TEXT},
        {"trackline_id": _TEXT, "center": _POINT, "size": _POINT, "orientation": _QUATERNION, "category": _TEXT},
    ),
    "egomotion_estimate": _schema(
        "egomotion_estimate", _CLIP_KEY, {"name": _TEXT, "location": _POINT, "orientation": _QUATERNION}
    ),
    "calibration_estimate": _schema("calibration_estimate", _CLIP_KEY, {"name": _TEXT, "rig_json": _TEXT}),
    "lane_line": _map_schema(
        "lane_line",
        {
            "line_rail": _POINTS,
            "styles": _TEXTS,
            "colors": _TEXTS,
            "left_driving_direction": _TEXT,
            "right_driving_direction": _TEXT,
        },
    ),
    "road_boundary": _map_schema("road_boundary", {"category": _TEXT, "location": _POINTS}),
    "crosswalk": _map_schema("crosswalk", {"category": _TEXT, "location": _POINTS}),
}
