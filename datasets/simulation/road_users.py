"""Road user types with categories, sizes and colors."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from driveforge.datasets.simulation.mesh import Part
from driveforge.datasets.simulation.people import cyclist, person
from driveforge.datasets.simulation.vehicles import bus, hatchback, sedan, suv, truck, van
from driveforge.datasets.simulation.world import Color, Size


@dataclass(frozen=True, kw_only=True, slots=True)
class RoadUserType:
    """A nuScenes category, and the average size (length, width, height) in m."""

    category: str
    size: Size


ROAD_USER_TYPES: dict[str, RoadUserType] = {
    "sedan": RoadUserType(category="vehicle.car", size=(4.6, 1.85, 1.46)),
    "hatchback": RoadUserType(category="vehicle.car", size=(4.1, 1.78, 1.5)),
    "suv": RoadUserType(category="vehicle.car", size=(4.7, 1.95, 1.75)),
    "van": RoadUserType(category="vehicle.car", size=(5.3, 2.0, 2.2)),
    "truck": RoadUserType(category="vehicle.truck", size=(7.4, 2.4, 3.1)),
    "bus": RoadUserType(category="vehicle.bus.rigid", size=(10.8, 2.55, 3.2)),
    "pedestrian": RoadUserType(category="human.pedestrian.adult", size=(0.74, 0.66, 1.74)),
    "child": RoadUserType(category="human.pedestrian.child", size=(0.55, 0.55, 1.25)),
    "cyclist": RoadUserType(category="vehicle.bicycle", size=(1.8, 0.6, 1.75)),
}
CAR_COLORS: tuple[Color, ...] = (
    (0.86, 0.86, 0.87), (0.12, 0.12, 0.13), (0.45, 0.46, 0.48), (0.66, 0.67, 0.69), (0.62, 0.1, 0.1), (0.12, 0.2, 0.45),
    (0.2, 0.42, 0.66), (0.13, 0.3, 0.2), (0.72, 0.55, 0.16), (0.8, 0.36, 0.12), (0.5, 0.4, 0.3), (0.93, 0.9, 0.82),
)  # fmt: skip
BUS_COLORS: tuple[Color, ...] = ((0.85, 0.2, 0.15), (0.9, 0.72, 0.15), (0.2, 0.45, 0.75), (0.85, 0.87, 0.9))
CLOTHES: tuple[Color, ...] = (
    (0.8, 0.15, 0.15), (0.15, 0.25, 0.6), (0.85, 0.75, 0.2), (0.12, 0.12, 0.15), (0.85, 0.85, 0.85), (0.2, 0.5, 0.3),
    (0.45, 0.3, 0.2), (0.55, 0.55, 0.6),
)  # fmt: skip


_VEHICLES: dict[str, Callable[[Size, Color], tuple[Part, ...]]] = {
    "sedan": sedan, "hatchback": hatchback, "suv": suv, "van": van, "truck": truck, "bus": bus,
}  # fmt: skip


def build_parts(type_name: str, size: Size, color: Color, rng: np.random.Generator) -> tuple[Part, ...]:
    """Parts of one road user within ``size``, with its origin on the ground, facing +x."""
    if type_name in ("pedestrian", "child"):
        return person(size[2], color, CLOTHES[int(rng.integers(len(CLOTHES)))], float(rng.uniform(0, 6.28)))
    if type_name == "cyclist":
        return cyclist(size, color, float(rng.uniform(0, 6.28)))
    return _VEHICLES[type_name](size, color)
