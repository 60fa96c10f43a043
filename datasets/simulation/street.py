"""Static objects along a road: houses, trees, lamps and signs."""

from dataclasses import dataclass

import numpy as np

from driveforge.datasets.geometry import Array, pose, yaw_rotation
from driveforge.datasets.simulation.collision import footprint, is_overlapping
from driveforge.datasets.simulation.props import house, lamp_post, sign_post, tree
from driveforge.datasets.simulation.random_textures import NUM_FACADES
from driveforge.datasets.simulation.reference_line import ReferenceLine
from driveforge.datasets.simulation.traffic_plan import CrossSection, TrafficPlan
from driveforge.datasets.simulation.world import Body, Color


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighborhood:
    """A style of street: stories of houses, their setback from the sidewalk and the gap between them in m, and the
    distance between trees in m."""

    stories: tuple[int, int]
    setback: tuple[float, float]
    gap: tuple[float, float]
    tree_every: float
    gable_probability: float
    has_conifers: bool


NEIGHBORHOODS = (
    Neighborhood(
        stories=(3, 7), setback=(0.3, 1.5), gap=(0.0, 2.0), tree_every=16, gable_probability=0.1, has_conifers=False
    ),
    Neighborhood(stories=(1, 3), setback=(3, 8), gap=(3, 9), tree_every=10, gable_probability=0.85, has_conifers=False),
    Neighborhood(stories=(2, 5), setback=(1, 5), gap=(2, 14), tree_every=12, gable_probability=0.4, has_conifers=False),
    Neighborhood(stories=(1, 2), setback=(6, 14), gap=(18, 55), tree_every=7, gable_probability=0.8, has_conifers=True),
)


def place_street_objects(line: ReferenceLine, plan: TrafficPlan, rng: np.random.Generator) -> tuple[Body, ...]:
    """Houses, trees, lamps and signs on both sides of the road."""
    style = NEIGHBORHOODS[int(rng.integers(len(NEIGHBORHOODS)))]
    occupied: list[Array] = []
    bodies: list[Body] = []
    for side in (-1, 1):
        bodies += _place_houses(line, plan, style, side, occupied, rng)
        bodies += _place_poles(line, plan, style, side, occupied, rng)
    return tuple(bodies)


def _edge(road: CrossSection, side: int) -> float:
    return road.left_edge if side > 0 else -road.right_edge


def _is_free(
    line: ReferenceLine,
    plan: TrafficPlan,
    shape: Array,
    clearance: float,
    occupied: list[Array],
    along: float,
    reach: float,
) -> bool:
    """Whether a footprint is clear of the road (all of it, also behind a bend), of junctions and of other objects."""
    if any(abs(along - center) < half + 3 + reach for center, half in plan.junctions):
        return False
    signs = np.array([[a, b] for a in (-1, 0, 1) for b in (-1, 0, 1)], np.float64)
    spread = signs * shape[4:6]
    points = shape[:2] + np.stack(
        [spread[:, 0] * shape[2] - spread[:, 1] * shape[3], spread[:, 0] * shape[3] + spread[:, 1] * shape[2]], 1
    )
    return bool(line.distance(points).min() > clearance) and not any(
        is_overlapping(shape, other, 0.2) for other in occupied
    )


def _place_houses(
    line: ReferenceLine,
    plan: TrafficPlan,
    style: Neighborhood,
    side: int,
    occupied: list[Array],
    rng: np.random.Generator,
) -> list[Body]:
    bodies = []
    along, end = float(line.along[0]), float(line.along[-1])
    curb = _edge(plan.road, side) + plan.road.sidewalk
    while along < end:
        length, depth = float(rng.uniform(8, 22)), float(rng.uniform(8, 14))
        height = 3.1 * int(rng.integers(style.stories[0], style.stories[1] + 1)) + 0.6
        left = side * (curb + float(rng.uniform(*style.setback)) + depth / 2)
        position, heading = line.to_world(along + length / 2, left)
        shape = footprint(float(position[0]), float(position[1]), float(heading), length, depth)
        if _is_free(line, plan, shape, curb + 0.2, occupied, along + length / 2, length / 2):
            occupied.append(shape)
            roof = float(rng.uniform(2.2, 4)) if rng.random() < style.gable_probability else 0.0
            tint = wall_tint(rng)
            roof_tint = tuple(
                np.clip(np.array([0.55, 0.34, 0.28]) * rng.uniform(0.6, 1.3) + rng.normal(0, 0.05, 3), 0.1, 1)
            )
            parts = house(
                (length, depth, height), f"facade{int(rng.integers(NUM_FACADES))}", tint, 6.2, roof, roof_tint
            )
            bodies.append(_static_body(parts, position, float(heading), (length, depth, height)))
        along += length + float(rng.uniform(*style.gap))
    return bodies


def wall_tint(rng: np.random.Generator) -> Color:
    """A random wall color: plaster, brick, sandstone or a pastel."""
    hues = (
        (0.95, 0.93, 0.88),
        (0.72, 0.42, 0.33),
        (0.86, 0.74, 0.55),
        (0.6, 0.6, 0.62),
        (0.9, 0.82, 0.62),
        (0.68, 0.76, 0.8),
        (0.8, 0.66, 0.6),
    )
    r, g, b = np.clip(
        np.array(hues[int(rng.integers(len(hues)))]) * rng.uniform(0.65, 1.08) + rng.normal(0, 0.03, 3), 0.2, 1.05
    )
    return float(r), float(g), float(b)


def _place_poles(
    line: ReferenceLine,
    plan: TrafficPlan,
    style: Neighborhood,
    side: int,
    occupied: list[Array],
    rng: np.random.Generator,
) -> list[Body]:
    """Lamps and signs near the curb, and trees behind."""
    bodies: list[Body] = []
    curb = _edge(plan.road, side)
    start, end = float(line.along[0]), float(line.along[-1])
    lamp_height = float(rng.uniform(5.5, 8))
    placements: list[tuple[str, float, float]] = [
        ("lamp", s, curb + 0.6) for s in np.arange(start + 13 * (side > 0), end, 28.0)
    ]
    placements += [("sign", s, curb + 0.7) for s in np.arange(start + 8, end, 37.0) + rng.uniform(-4, 4)]
    placements += [
        ("tree", s + rng.uniform(-2, 2), curb + rng.uniform(1.3, plan.road.sidewalk + 3))
        for s in np.arange(start, end, style.tree_every)
    ]
    green = np.array([0.36, 0.52, 0.24]) * rng.uniform(0.75, 1.2) + rng.normal(0, 0.04, 3)
    for prop, along, left in placements:
        position, heading = line.to_world(along, side * left)
        shape = footprint(float(position[0]), float(position[1]), float(heading), 0.4, 0.4)
        if not _is_free(line, plan, shape, curb + 0.2, occupied, along, 0):
            continue
        occupied.append(shape)
        if prop == "lamp":
            bodies.append(
                _static_body(lamp_post(lamp_height), position, float(heading) - side * np.pi / 2, (0.2, 0.2, 3.0))
            )
        elif prop == "sign":
            turn = 0.0 if side < 0 else np.pi
            tint = ((0.85, 0.1, 0.1), (0.1, 0.3, 0.75), (0.9, 0.75, 0.1))[int(rng.integers(3))]
            bodies.append(
                _static_body(
                    sign_post(float(rng.uniform(2.3, 3)), tint), position, float(heading) + turn, (0.1, 0.3, 1.0)
                )
            )
        else:
            tint = tuple(np.clip(green + rng.normal(0, 0.04, 3), 0.05, 1))
            height = float(rng.uniform(4.5, 9))
            spread = height * float(rng.uniform(0.35, 0.55))
            parts = tree(height, spread, tint, style.has_conifers and rng.random() < 0.7)
            bodies.append(_static_body(parts, position, float(rng.uniform(0, 6)), (spread * 0.8, spread * 0.8, height)))
    return bodies


def _static_body(parts: tuple, position: Array, heading: float, size: tuple[float, float, float]) -> Body:  # type: ignore[type-arg]
    return Body(parts=parts, poses=pose(yaw_rotation(heading), [*position, 0.0])[None], size=size)
