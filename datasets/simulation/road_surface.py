"""Road surfaces: curbs, sidewalks and markings, and the lane lines of the scene."""

import numpy as np

from driveforge.datasets.geometry import Array
from driveforge.datasets.scene import Lane
from driveforge.datasets.simulation.reference_line import ReferenceLine, coordinate_grid
from driveforge.datasets.simulation.traffic_plan import CrossSection, TrafficPlan
from driveforge.datasets.simulation.world import Band, Color, Ground, Stripe

_CELL_M = 1.0
_WHITE: Color = (222, 222, 218)
_YELLOW: Color = (214, 178, 62)


def build_ground(line: ReferenceLine, plan: TrafficPlan, rng: np.random.Generator) -> Ground:
    """The ground of a road: asphalt with markings between curbs, sidewalks and verges."""
    road = plan.road
    coordinates, origin = coordinate_grid(line, _CELL_M)
    curb = 0.22
    bands = (
        Band(edge=road.right_edge - road.sidewalk, texture="verge", tile=11.0),
        Band(edge=road.right_edge - curb, texture="sidewalk", tile=4.0),
        Band(edge=road.right_edge, texture="curb", tile=2.4),
        Band(edge=road.left_edge, texture="asphalt", tile=9.0),
        Band(edge=road.left_edge + curb, texture="curb", tile=2.4),
        Band(edge=road.left_edge + road.sidewalk, texture="sidewalk", tile=4.0),
        Band(edge=1e9, texture="verge", tile=11.0),
    )
    half = max(-road.right_edge, road.left_edge)
    return Ground(
        coordinates=coordinates, origin=origin, cell=_CELL_M, bands=bands, stripes=_stripes(road, rng),
        junctions=np.array(plan.junctions, np.float64).reshape(-1, 2),
        crosswalks=np.array([[s - 1.7, s + 1.7, half] for s in plan.crosswalks]).reshape(-1, 3),
        lane_width=road.lane_width,
    )  # fmt: skip


def _stripes(road: CrossSection, rng: np.random.Generator) -> tuple[Stripe, ...]:
    middle = _YELLOW if rng.random() < 0.3 else _WHITE
    period = float(rng.choice([6.0, 9.0, 12.0]))
    dash = period * float(rng.uniform(0.33, 0.5))
    stripes = [
        Stripe(lateral=-road.forward * road.lane_width, width=0.13, color=_WHITE),
        Stripe(lateral=road.oncoming * road.lane_width, width=0.13, color=_WHITE),
    ]
    if road.oncoming:
        if rng.random() < 0.4:
            stripes += [Stripe(lateral=side * 0.13, width=0.12, color=middle) for side in (-1, 1)]
        else:
            stripes.append(Stripe(lateral=0.0, width=0.14, color=middle, period=period, dash=dash))
    for lane in [*range(1, road.forward), *range(1 - road.oncoming, 0)]:
        stripes.append(Stripe(lateral=-lane * road.lane_width, width=0.14, color=_WHITE, period=period, dash=dash))
    return tuple(stripes)


def lane_lines(line: ReferenceLine, plan: TrafficPlan, start: float, end: float) -> tuple[Lane, ...]:
    """Road edges, lane dividers and crosswalks from ``start`` to ``end`` meters along, with a point every 2 m."""
    road = plan.road
    along = np.arange(start, end, 2.0)
    open_road = np.ones(len(along), np.bool_)
    for center, half in plan.junctions:
        open_road &= np.abs(along - center) > half
    runs = [run for run in np.split(along, np.flatnonzero(np.diff(open_road)) + 1) if len(run) > 1]
    runs = [run for run in runs if open_road[int(np.searchsorted(along, run[0]))]]
    edges = [("boundary", road.right_edge), ("boundary", road.left_edge)]
    lefts = range(-road.forward + 1, road.oncoming)
    dividers = [("divider", k * road.lane_width) for k in lefts]
    lanes = [
        Lane(kind=kind, points=_world_points(line, run, np.full(len(run), left)))
        for kind, left in edges + dividers
        for run in runs
    ]
    for center in plan.crosswalks:
        if start < center < end:
            s = center + np.array([-1.7, 1.7, 1.7, -1.7, -1.7])
            d = np.array([road.right_edge, road.right_edge, road.left_edge, road.left_edge, road.right_edge])
            lanes.append(Lane(kind="crossing", points=_world_points(line, s, d)))
    return tuple(lanes)


def _world_points(line: ReferenceLine, along: Array, left: Array) -> Array:
    points, _ = line.to_world(along, left)
    return np.column_stack([points, np.zeros(len(points))])
