"""Categories, attributes, visibility levels, weather words, tokens and row links of nuScenes v1.0."""

import hashlib
import re
from collections.abc import Sequence
from typing import Any

from driveforge.datasets.domains import DRIVING_DAY, DRIVING_DUSK, DRIVING_RAIN

Row = dict[str, Any]
TableRows = dict[str, list[Row]]
"""Rows by table name."""

CATEGORIES = (
    "human.pedestrian.adult", "human.pedestrian.child", "human.pedestrian.wheelchair", "human.pedestrian.stroller",
    "human.pedestrian.personal_mobility", "human.pedestrian.police_officer", "human.pedestrian.construction_worker",
    "animal", "vehicle.car", "vehicle.motorcycle", "vehicle.bicycle", "vehicle.bus.bendy", "vehicle.bus.rigid",
    "vehicle.truck", "vehicle.construction", "vehicle.emergency.ambulance", "vehicle.emergency.police",
    "vehicle.trailer", "movable_object.barrier", "movable_object.trafficcone", "movable_object.pushable_pullable",
    "movable_object.debris", "static_object.bicycle_rack",
)  # fmt: skip

ATTRIBUTES = (
    "vehicle.moving", "vehicle.stopped", "vehicle.parked", "cycle.with_rider", "cycle.without_rider",
    "pedestrian.sitting_lying_down", "pedestrian.standing", "pedestrian.moving",
)  # fmt: skip

# Upper limits of the visible fraction for the levels "1" to "4".
_VISIBILITY = ((0.4, "v0-40"), (0.6, "v40-60"), (0.8, "v60-80"), (1.0, "v80-100"))

_SYNTHETIC = "Synthetic: "

# Below this speed in m/s, vehicles and people count as stationary.
_STATIONARY_SPEED = 0.2


def make_token(*names: object) -> str:
    """A token of 32 hex digits, a hash of ``names``."""
    return hashlib.blake2b("/".join(map(str, names)).encode(), digest_size=16).hexdigest()


def link_rows(rows: Sequence[Row]) -> list[Row]:
    """``rows`` with the tokens of their neighbors as ``prev`` and ``next``, "" at the ends."""
    tokens = ["", *[row["token"] for row in rows], ""]
    return [{**row, "prev": tokens[n], "next": tokens[n + 2]} for n, row in enumerate(rows)]


def mark_synthetic(description: str) -> str:
    """The description of a scene whose pixels a model generated."""
    return f"{_SYNTHETIC}{description}"


def unmark_synthetic(description: str) -> str:
    return description.removeprefix(_SYNTHETIC)


def infer_domain(description: str) -> str:
    """Domain of a nuScenes scene, by words in its description."""
    if re.search(r"\b(night|dusk)", description, re.IGNORECASE):
        return DRIVING_DUSK
    return DRIVING_RAIN if re.search(r"\brain", description, re.IGNORECASE) else DRIVING_DAY


def vocabulary_rows() -> TableRows:
    """Rows of the category, attribute and visibility tables."""
    return {
        "category": [{"token": make_token("category", name), "name": name, "description": ""} for name in CATEGORIES],
        "attribute": [{"token": make_token("attribute", name), "name": name, "description": ""} for name in ATTRIBUTES],
        "visibility": [
            {"token": str(n), "level": level, "description": f"up to {share:.0%} of the object is visible"}
            for n, (share, level) in enumerate(_VISIBILITY, 1)
        ],
    }


def visibility_token(share: float) -> str:
    """Visibility level of an object with a visible fraction ``share`` (0 to 1)."""
    return str(next((n for n, (upper, _) in enumerate(_VISIBILITY, 1) if share <= upper), len(_VISIBILITY)))


def attribute_tokens(category: str, speed: float) -> list[str]:
    """The token of ``attribute_name``, none without one."""
    name = attribute_name(category, speed)
    return [make_token("attribute", name)] if name else []


def attribute_name(category: str, speed: float) -> str:
    """The nuScenes attribute of an object: moving or not, by ``speed`` in m/s; cycles always have riders.

    "" for categories without attributes.
    """
    is_moving = speed > _STATIONARY_SPEED
    if category in ("vehicle.bicycle", "vehicle.motorcycle"):
        return "cycle.with_rider"
    if category.startswith("vehicle."):
        return "vehicle.moving" if is_moving else "vehicle.stopped"
    if category.startswith("human.pedestrian"):
        return "pedestrian.moving" if is_moving else "pedestrian.standing"
    return ""
