"""What stands still along a road: houses, trees, lamps and signs."""

from dataclasses import dataclass

import numpy as np

from driveforge.datasets.geometry import Array, pose, yaw_rotation
from driveforge.datasets.simulation.overlap import footprint, overlapping
from driveforge.datasets.simulation.plan import CrossSection, Plan
from driveforge.datasets.simulation.props import house, lamp_post, sign_post, tree
from driveforge.datasets.simulation.reference_line import ReferenceLine
from driveforge.datasets.simulation.surfaces import NUM_FACADES
from driveforge.datasets.simulation.world import Body, Colour


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighbourhood:
    """How the surroundings of a road look."""

    storeys: tuple[int, int]
    setback: tuple[float, float]
    gap: tuple[float, float]
    tree_every: float
    gabled: float
    conifers: bool


NEIGHBOURHOODS = (
    Neighbourhood(storeys=(3, 7), setback=(0.3, 1.5), gap=(0.0, 2.0), tree_every=16, gabled=0.1, conifers=False),
    Neighbourhood(storeys=(1, 3), setback=(3, 8), gap=(3, 9), tree_every=10, gabled=0.85, conifers=False),
    Neighbourhood(storeys=(2, 5), setback=(1, 5), gap=(2, 14), tree_every=12, gabled=0.4, conifers=False),
    Neighbourhood(storeys=(1, 2), setback=(6, 14), gap=(18, 55), tree_every=7, gabled=0.8, conifers=True),
)


def furnish(line: ReferenceLine, plan: Plan, rng: np.random.Generator) -> tuple[Body, ...]:
    """Houses, trees, lamps and signs on both sides."""
    style = NEIGHBOURHOODS[int(rng.integers(len(NEIGHBOURHOODS)))]
    taken: list[Array] = []
    bodies: list[Body] = []
    for side in (-1, 1):
        bodies += _houses(line, plan, style, side, taken, rng)
        bodies += _poles(line, plan, style, side, taken, rng)
    return tuple(bodies)


def _edge(road: CrossSection, side: int) -> float:
    return road.left_edge if side > 0 else -road.right_edge


def _is_free(
    line: ReferenceLine, plan: Plan, shape: Array, clearance: float, taken: list[Array], along: float, reach: float
) -> bool:
    """Clear of the whole road (also where it bends back), of side streets, and of what stands already."""
    if any(abs(along - centre) < half + 3 + reach for centre, half in plan.junctions):
        return False
    signs = np.array([[a, b] for a in (-1, 0, 1) for b in (-1, 0, 1)], np.float64)
    spread = signs * shape[4:6]
    points = shape[:2] + np.stack(
        [spread[:, 0] * shape[2] - spread[:, 1] * shape[3], spread[:, 0] * shape[3] + spread[:, 1] * shape[2]], 1
    )
    return bool(line.distance(points).min() > clearance) and not any(overlapping(shape, other, 0.2) for other in taken)


def _houses(
    line: ReferenceLine, plan: Plan, style: Neighbourhood, side: int, taken: list[Array], rng: np.random.Generator
) -> list[Body]:
    bodies = []
    along, end = float(line.along[0]), float(line.along[-1])
    kerb = _edge(plan.road, side) + plan.road.pavement
    while along < end:
        length, depth = float(rng.uniform(8, 22)), float(rng.uniform(8, 14))
        height = 3.1 * int(rng.integers(style.storeys[0], style.storeys[1] + 1)) + 0.6
        left = side * (kerb + float(rng.uniform(*style.setback)) + depth / 2)
        position, heading = line.place(along + length / 2, left)
        shape = footprint(float(position[0]), float(position[1]), float(heading), length, depth)
        if _is_free(line, plan, shape, kerb + 0.2, taken, along + length / 2, length / 2):
            taken.append(shape)
            roof = float(rng.uniform(2.2, 4)) if rng.random() < style.gabled else 0.0
            tint = wall_tint(rng)
            roof_tint = tuple(
                np.clip(np.array([0.55, 0.34, 0.28]) * rng.uniform(0.6, 1.3) + rng.normal(0, 0.05, 3), 0.1, 1)
            )
            parts = house(
                (length, depth, height), f"facade{int(rng.integers(NUM_FACADES))}", tint, 6.2, roof, roof_tint
            )
            bodies.append(_standing(parts, position, float(heading), (length, depth, height)))
        along += length + float(rng.uniform(*style.gap))
    return bodies


def wall_tint(rng: np.random.Generator) -> Colour:
    """Plaster, brick, sandstone or a pastel, lighter or darker."""
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


def _poles(
    line: ReferenceLine, plan: Plan, style: Neighbourhood, side: int, taken: list[Array], rng: np.random.Generator
) -> list[Body]:
    """Lamps near the kerb, signs between them, trees behind."""
    bodies: list[Body] = []
    kerb = _edge(plan.road, side)
    start, end = float(line.along[0]), float(line.along[-1])
    lamp_height = float(rng.uniform(5.5, 8))
    spots: list[tuple[str, float, float]] = [
        ("lamp", s, kerb + 0.6) for s in np.arange(start + 13 * (side > 0), end, 28.0)
    ]
    spots += [("sign", s, kerb + 0.7) for s in np.arange(start + 8, end, 37.0) + rng.uniform(-4, 4)]
    spots += [
        ("tree", s + rng.uniform(-2, 2), kerb + rng.uniform(1.3, plan.road.pavement + 3))
        for s in np.arange(start, end, style.tree_every)
    ]
    green = np.array([0.36, 0.52, 0.24]) * rng.uniform(0.75, 1.2) + rng.normal(0, 0.04, 3)
    for what, along, left in spots:
        position, heading = line.place(along, side * left)
        shape = footprint(float(position[0]), float(position[1]), float(heading), 0.4, 0.4)
        if not _is_free(line, plan, shape, kerb + 0.2, taken, along, 0):
            continue
        taken.append(shape)
        if what == "lamp":
            bodies.append(
                _standing(lamp_post(lamp_height), position, float(heading) - side * np.pi / 2, (0.2, 0.2, 3.0))
            )
        elif what == "sign":
            turn = 0.0 if side < 0 else np.pi
            tint = ((0.85, 0.1, 0.1), (0.1, 0.3, 0.75), (0.9, 0.75, 0.1))[int(rng.integers(3))]
            bodies.append(
                _standing(sign_post(float(rng.uniform(2.3, 3)), tint), position, float(heading) + turn, (0.1, 0.3, 1.0))
            )
        else:
            tint = tuple(np.clip(green + rng.normal(0, 0.04, 3), 0.05, 1))
            height = float(rng.uniform(4.5, 9))
            spread = height * float(rng.uniform(0.35, 0.55))
            parts = tree(height, spread, tint, style.conifers and rng.random() < 0.7)
            bodies.append(_standing(parts, position, float(rng.uniform(0, 6)), (spread * 0.8, spread * 0.8, height)))
    return bodies


def _standing(parts: tuple, position: Array, heading: float, size: tuple[float, float, float]) -> Body:  # type: ignore[type-arg]
    return Body(parts=parts, poses=pose(yaw_rotation(heading), [*position, 0.0])[None], size=size)
