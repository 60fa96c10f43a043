"""Cars parked along a road."""

from collections.abc import Iterator

import numpy as np

from driveforge.datasets.geometry import pose, yaw_rotation
from driveforge.datasets.simulation.reference_line import ReferenceLine
from driveforge.datasets.simulation.road_users import CAR_COLORS, ROAD_USER_TYPES, build_parts
from driveforge.datasets.simulation.traffic_plan import TrafficPlan
from driveforge.datasets.simulation.world import Body


def _slots(line: ReferenceLine, start: float, end: float, left: float) -> Iterator[float]:
    """Yield parking positions along the line that are 6.2 m apart at ``left`` meters left of it, also in bends."""
    slot = start
    while slot < end:
        yield slot
        stretch = 1 - np.abs(line.curvature_at(slot + np.arange(0, 10, 2.0))).max() * abs(left)
        slot += 6.2 / max(float(stretch), 0.3)


def park_cars(
    line: ReferenceLine, plan: TrafficPlan, start: float, end: float, rng: np.random.Generator
) -> tuple[Body, ...]:
    """Parked cars from ``start`` to ``end`` meters along the road, clear of junctions and crosswalks."""
    road = plan.road
    if road.strip_use != "parking":
        return ()
    bodies: list[Body] = []
    density = rng.uniform(0.35, 0.85)
    for side, strip, edge in ((-1, road.right_strip, road.right_edge), (1, road.left_strip, road.left_edge)):
        if strip < 2:
            continue
        for slot in _slots(line, start, end, edge):
            if (
                rng.random() > density
                or any(abs(slot - s) < h + 9 for s, h in plan.junctions)
                or any(abs(slot - s) < 7 for s in plan.crosswalks)
            ):
                continue
            kind = str(rng.choice(["sedan", "hatchback", "suv", "van"]))
            length, width, height = (
                float(v) for v in np.array(ROAD_USER_TYPES[kind].size) * rng.uniform(0.95, 1.05, 3)
            )
            size = (length, width, height)
            color = CAR_COLORS[int(rng.integers(len(CAR_COLORS)))]
            position, heading = line.to_world(
                slot + rng.uniform(-0.3, 0.3), edge - side * (strip / 2 + rng.uniform(-0.1, 0.1))
            )
            turn = np.pi if side > 0 and road.oncoming else 0.0
            placed = pose(yaw_rotation(float(heading) + turn + rng.normal(0, 0.015)), [*position, 0.0])[None]
            bodies.append(
                Body(
                    parts=build_parts(kind, size, color, rng),
                    poses=placed,
                    size=size,
                    id=f"parked{len(bodies):03d}",
                    category=ROAD_USER_TYPES[kind].category,
                )
            )
    return tuple(bodies)
