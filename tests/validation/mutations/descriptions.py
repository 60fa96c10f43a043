"""Mutations of the ``scene.json`` of a good clip: its text, its numbers, the types of its values."""

import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.validation.mutations.pixels import Rng

Record = dict[str, Any]
Text = Callable[[str, Rng], str | bytes]

_JUNK = (
    None, True, -1, 0, 10**400, 1.5, float("nan"), float("inf"), "", "grün", "x" * 100_000, "a\nb", [], [[]], {},
    [None], ["1", "2"], [[1, 2], [3]], {"a": {"b": [1]}},
)  # fmt: skip
_UNIT = [[0.8, 0, 0.5], [0, 0.8, 0.5], [0, 0, 1]]


def of_text(pattern: str, new: str) -> Text:
    """Replace the first match of ``pattern``."""
    return lambda text, rng: re.sub(pattern, lambda _: new, text, count=1)


def of_key(path: str, change: Callable[[Any, Rng], Any]) -> Text:
    """Apply ``change`` to the value at ``path``, for example ``cameras.0.width``."""

    def mutate(text: str, rng: Rng) -> str:
        record = json.loads(text)
        *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        owner = record
        for part in parents:
            owner = owner[part]
        owner[last] = change(owner[last], rng)
        return json.dumps(record)

    return mutate


def without(key: str) -> Text:
    return lambda text, rng: json.dumps({k: v for k, v in json.loads(text).items() if k != key})


def junk_anywhere(text: str, rng: Rng) -> str:
    """Replace a value at any depth by one of another type."""
    record = json.loads(text)
    owner: Any = record
    while True:
        keys = list(owner) if isinstance(owner, dict) else list(range(len(owner)))
        key = keys[int(rng.integers(len(keys)))]
        if not isinstance(owner[key], (dict, list)) or not owner[key] or rng.random() < 0.3:
            owner[key] = _JUNK[int(rng.integers(len(_JUNK)))]
            return json.dumps(record)
        owner = owner[key]


def _cut(text: str, rng: Rng) -> str:
    return text[: int(rng.integers(1, len(text) - 2))]


def _garbled(text: str, rng: Rng) -> bytes:
    content = bytearray(text.encode())
    for at in rng.integers(0, len(content), 20):
        content[at] = int(rng.integers(0, 256))
    return bytes(content)


# The mutation, and the key that the message must name.
DESCRIPTIONS: dict[str, tuple[Text, str]] = {
    "empty description": (lambda text, rng: "", ""),
    "description cut short": (_cut, ""),
    "description garbled": (_garbled, ""),
    "description in UTF-16": (lambda text, rng: text.encode("utf-16"), ""),
    "description of bytes": (lambda text, rng: rng.bytes(500), ""),
    "a list for a description": (lambda text, rng: f"[{text}]", ""),
    "deep description": (lambda text, rng: "[" * 100_000 + "]" * 100_000, ""),
    "deep value": (of_text(r'"timestamps": \[', '"timestamps": [' + "[" * 5000 + "]" * 5000 + ","), ""),
    "junk anywhere": (junk_anywhere, ""),
    "NaN in a pose": (of_key("ego_to_world.3.0.3", lambda v, rng: float("nan")), "ego_to_world"),
    "infinity in a box": (of_key("tracks.0.box_to_world.2.1.3", lambda v, rng: float("inf")), "box_to_world"),
    "1e400 in the times": (of_text(r'"timestamps": \[[^,]*', '"timestamps": [-1e400'), "timestamps"),
    "an integer of 400 digits": (of_key("timestamps.8", lambda v, rng: 10**400), "timestamps"),
    "an integer of 5000 digits": (of_text(r'"held_frames": 0', '"held_frames": ' + "9" * 5000), ""),
    "ragged poses": (of_key("ego_to_world.4", lambda v, rng: v[:2]), "ego_to_world"),
    "poses of words": (of_key("ego_to_world", lambda v, rng: "north"), "ego_to_world"),
    "poses in a box": (of_key("ego_to_world", lambda v, rng: {"0": v}), "ego_to_world"),
    "fewer poses": (of_key("ego_to_world", lambda v, rng: v[:-2]), "ego_to_world"),
    "times of words": (of_key("timestamps", lambda v, rng: [str(t) for t in v]), "timestamps"),
    "null times": (of_key("timestamps", lambda v, rng: None), "timestamps"),
    "times reversed": (of_key("timestamps", lambda v, rng: v[::-1]), "timestamps"),
    "intrinsics transposed": (of_key("cameras.0.intrinsics", lambda v, rng: np.transpose(v).tolist()), "intrinsics"),
    "intrinsics of an image of 1 px": (of_key("cameras.0.intrinsics", lambda v, rng: _UNIT), "intrinsics"),
    "a mount of degrees": (of_key("cameras.0.camera_to_ego", lambda v, rng: [0, 0, 90]), "camera_to_ego"),
    "a ragged mount": (of_key("cameras.0.camera_to_ego.1", lambda v, rng: [0]), "camera_to_ego"),
    "a width of words": (of_key("cameras.0.width", lambda v, rng: "wide"), "width"),
    "a width and a half": (of_key("cameras.0.width", lambda v, rng: v + 0.5), "width"),
    "a huge width": (of_key("cameras.0.width", lambda v, rng: 10**30), "size"),
    "a name of numbers": (of_key("cameras.0.name", lambda v, rng: 7), "name"),
    "a name with parent folders": (of_key("cameras.0.name", lambda v, rng: "../../etc/passwd"), "name"),
    "no cameras": (of_key("cameras", lambda v, rng: []), "camera"),
    "cameras by name": (of_key("cameras", lambda v, rng: {c["name"]: c for c in v}), "cameras"),
    "an additional camera": (of_key("cameras", lambda v, rng: [*v, v[0] | {"name": "more"}]), "more"),
    "a camera twice": (of_key("cameras", lambda v, rng: v * 2), "camera"),
    "a null clip id": (of_key("clip_id", lambda v, rng: None), "clip_id"),
    "a huge clip id": (of_key("clip_id", lambda v, rng: "A b" * 100_000), "clip id"),
    "a domain of lists": (of_key("domain", lambda v, rng: ["day", "night"]), "domain"),
    "all frames held": (of_key("held_frames", lambda v, rng: 9), "held_frames"),
    "held for half": (of_key("held_frames", lambda v, rng: 0.5), "held_frames"),
    "a track id of lists": (of_key("tracks.0.id", lambda v, rng: [1]), "id"),
    "a huge track id": (of_key("tracks.0", lambda v, rng: v | {"id": "x\n" * 9999, "size": [1, 1, 0]}), "size"),
    "a track twice": (of_key("tracks", lambda v, rng: v * 2), "track ids"),
    "a track too short": (of_key("tracks.0.present", lambda v, rng: v[:3]), "present"),
    "presence of words": (of_key("tracks.0.present", lambda v, rng: ["no"] * len(v)), "present"),
    "a size of zero": (of_key("tracks.0.size", lambda v, rng: [0, 0, 0]), "size"),
    "a size by name": (of_key("tracks.0.size", lambda v, rng: {"length": 4}), "size"),
    "a lane of colors": (of_key("lanes", lambda v, rng: [{"kind": "blue", "points": [[0, 0, 0]]}]), "kind"),
    "another version": (of_key("schema_version", lambda v, rng: {"major": 2}), "schema_version"),
    "an unknown key": (of_text(r'"caption"', '"cap\\ntion"'), "caption"),
    "no timestamps": (without("timestamps"), "timestamps"),
    "no cameras at all": (without("cameras"), "cameras"),
}  # fmt: skip
