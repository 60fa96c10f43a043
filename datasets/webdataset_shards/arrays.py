"""The members of a sample that hold arrays: poses, tracks, annotations, ego motion, and depth and instances."""

import io
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.box_annotations import BoxAnnotations, annotate_boxes
from driveforge.datasets.ego_motion import EgoMotion, ego_motion
from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.scene import Scene, Track
from driveforge.datasets.simulation.depth_and_instances import DepthAndInstances

# Of clips whose scene is simulated; an array (T, H, W) for each camera.
RENDERED_MEMBERS = ("depth.npz", "instances.npz")

# Shapes and kinds of the arrays that follow from a scene: V cameras, N tracks, T frames.
_ARRAYS: dict[str, dict[str, tuple[str, str]]] = {
    "annotations.npz": {
        "boxes_2d": ("VNT4", "f"),
        "cut_sides": ("VNT4", "b"),
        "visible_share": ("VNT", "f"),
        "occluded_share": ("VNT", "f"),
        "velocities": ("NT3", "f"),
        "attributes": ("NT", "U"),
    },
    "ego_motion.npz": {name: ("T", "f") for name in ("speed", "acceleration", "yaw_rate", "curvature")},
}


def pack_tracks(scene: Scene) -> bytes:
    tracks, frames = scene.tracks, scene.num_frames
    unknown_points, unknown_attributes = np.full(frames, -1), ("",) * frames
    points = [unknown_points if track.lidar_points is None else track.lidar_points for track in tracks]
    attributes = [unknown_attributes if track.attributes is None else track.attributes for track in tracks]
    return _pack_arrays(
        {
            "ids": np.array([track.id for track in tracks], np.str_),
            "categories": np.array([track.category for track in tracks], np.str_),
            "sizes": np.array([track.size for track in tracks], np.float64).reshape(-1, 3),
            "box_to_world": np.array([track.box_to_world for track in tracks], np.float64).reshape(-1, frames, 4, 4),
            "present": np.array([track.present for track in tracks], np.bool_).reshape(-1, frames),
            "lidar_points": np.array(points, np.int32).reshape(-1, frames),
            "annotated_attributes": np.array(attributes, np.str_).reshape(-1, frames),
        }
    )


def unpack_tracks(content: bytes) -> tuple[Track, ...]:
    """The tracks; those of samples before version 3 have neither lidar points nor attributes."""
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        columns = [arrays[name] for name in ("ids", "categories", "sizes", "box_to_world", "present")]
        shape = columns[-1].shape
        points = arrays["lidar_points"] if "lidar_points" in arrays else np.full(shape, -1)
        attributes = arrays["annotated_attributes"] if "annotated_attributes" in arrays else np.full(shape, "")
    return tuple(
        Track(
            id=str(id_),
            category=str(category),
            size=size,
            box_to_world=poses,
            present=present,
            lidar_points=track_points if (track_points != -1).any() else None,
            attributes=tuple(map(str, track_attributes)) if (track_attributes != "").any() else None,
        )
        for id_, category, size, poses, present, track_points, track_attributes in zip(
            *columns, points, attributes, strict=True
        )
    )


def pack_annotations(scene: Scene) -> bytes:
    return _pack_arrays(_fields(annotate_boxes(scene)))


def pack_ego_motion(scene: Scene) -> bytes:
    return _pack_arrays(_fields(ego_motion(scene)))


def pack_depth_and_instances(rendered: DepthAndInstances, scene: Scene) -> dict[str, bytes]:
    """The ``RENDERED_MEMBERS`` of a sample."""
    names = [camera.name for camera in scene.cameras]
    views = (rendered.depth, rendered.instances)
    return {
        member: _pack_arrays(dict(zip(names, view, strict=True)))
        for member, view in zip(RENDERED_MEMBERS, views, strict=True)
    }


def check_rendered(members: Mapping[str, bytes], scene: Scene) -> Iterator[str]:
    """What is wrong with the ``RENDERED_MEMBERS`` of a sample that has them."""
    shapes = {camera.name: (scene.num_frames, camera.height, camera.width) for camera in scene.cameras}
    for member in RENDERED_MEMBERS:
        if member not in members:
            continue
        try:
            with np.load(io.BytesIO(members[member]), allow_pickle=False) as stored:
                found = {name: (stored[name].shape, stored[name].dtype) for name in stored.files}
        except Exception as error:  # numpy and zipfile raise exceptions of many types
            yield f"{member} cannot be read ({shorten(error, 120)})"
            continue
        if found != {name: (shape, np.dtype(np.uint16)) for name, shape in shapes.items()}:
            yield f"{member} must hold a uint16 array (T, H, W) for each camera, and nothing else"


def check_arrays(members: Mapping[str, bytes], scene: Scene) -> Iterator[str]:
    """What is wrong with ``annotations.npz`` and ``ego_motion.npz`` of a sample: names, shapes or kinds of arrays."""
    sizes = {"V": len(scene.cameras), "N": len(scene.tracks), "T": scene.num_frames, "3": 3, "4": 4}
    for member, expected in _ARRAYS.items():
        try:
            with np.load(io.BytesIO(members[member]), allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
        except KeyError:
            yield f"member {member} is missing"
            continue
        except Exception as error:  # numpy and zipfile raise exceptions of many types
            yield f"{member} cannot be read ({shorten(error, 120)})"
            continue
        if arrays.keys() != expected.keys():
            yield f"{member} must hold {', '.join(expected)}, it holds {', '.join(arrays) or 'nothing'}"
            continue
        for name, (shape, kind) in expected.items():
            if arrays[name].shape != tuple(sizes[letter] for letter in shape) or arrays[name].dtype.kind != kind:
                yield f"{member}: {name} is {arrays[name].dtype} {arrays[name].shape}, which does not fit its clip"
                break


def pack_array(array: NDArray[np.float64]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def unpack_array(content: bytes) -> Any:
    buffer = io.BytesIO(content)
    array = np.load(buffer, allow_pickle=False)
    if buffer.read(1):
        raise UserError("poses.npy has data after its array")
    return array


def _fields(record: BoxAnnotations | EgoMotion) -> dict[str, NDArray[Any]]:
    return {field.name: getattr(record, field.name) for field in fields(record)}


def _pack_arrays(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()
