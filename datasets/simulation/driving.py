"""Driving worlds: traffic is simulated on a straight road, which is then bent; the street is built along it."""

import numpy as np

from driveforge.datasets.errors import UserError
from driveforge.datasets.geometry import Array, pose, yaw_rotation
from driveforge.datasets.simulation.collision import any_overlap, footprint
from driveforge.datasets.simulation.parking import park_cars
from driveforge.datasets.simulation.reference_line import STEP_M, ReferenceLine, curvature_profile, integrate_curvature
from driveforge.datasets.simulation.road_surface import build_ground, lane_lines
from driveforge.datasets.simulation.road_users import BUS_COLORS, CAR_COLORS, CLOTHES, ROAD_USER_TYPES, build_parts
from driveforge.datasets.simulation.scenarios import CAPTIONS, CLOSE_SCENARIOS, SCENARIOS, sample_plan
from driveforge.datasets.simulation.street import place_street_objects
from driveforge.datasets.simulation.traffic import Trajectory, resample, simulate
from driveforge.datasets.simulation.traffic_plan import EGO, WARM_UP_S, TrafficPlan
from driveforge.datasets.simulation.weather import sample_weather
from driveforge.datasets.simulation.world import Body, World

_MAX_CURVATURE = 1 / 24
_TURNING_SHARE = 0.66
_BEHIND_M, _AHEAD_M = 70.0, 170.0
_REAR_AXLE_M = 1.35
_ATTEMPTS = 40
_MIN_GAP_M = 0.15
_MIN_SPEED = 3.5


def build_driving_world(variant: str, scenario: str, seed: int, timestamps: Array) -> World:
    """The world of one recording in weather ``variant``; ``scenario`` is one of ``SCENARIOS`` or
    ``CLOSE_SCENARIOS``, or "drive" for long recordings.

    Traffic plans with collisions are rejected and sampled again, so bodies never overlap.
    """
    if scenario not in (*SCENARIOS, *CLOSE_SCENARIOS, "drive"):
        known = ", ".join((*SCENARIOS, *CLOSE_SCENARIOS))
        raise UserError(f"unknown scenario {scenario!r}; choose from {known}")
    turn = _sample_turn(scenario, np.random.default_rng(seed))
    for attempt in range(_ATTEMPTS):
        rng = np.random.default_rng((seed, attempt))
        sample = _sample_traffic(scenario, turn, rng, timestamps)
        if sample is not None:
            return _build_world(variant, turn, *sample, seed, rng, timestamps)
    raise RuntimeError(f"all {_ATTEMPTS} traffic plans of {scenario!r} for seed {seed} have collisions")


_TrafficSample = tuple[TrafficPlan, ReferenceLine, dict[str, Trajectory], tuple[Body, ...]]


def _sample_turn(scenario: str, rng: np.random.Generator) -> str:
    """The shape of the road, sampled before the traffic plans, so that rejected plans do not bias it."""
    if scenario == "drive":
        return "winding road"
    if scenario == "car crosses" or rng.random() > _TURNING_SHARE:
        return "straight road"
    return str(rng.choice(["curved road left", "curved road right"]))


def _sample_traffic(scenario: str, turn: str, rng: np.random.Generator, timestamps: Array) -> _TrafficSample | None:
    """A plan, its road and trajectories at the timestamps; None if bodies collide or the ego vehicle is too slow."""
    duration = float(timestamps[-1] - timestamps[0])
    is_slow = turn != "straight road" or scenario in ("pedestrian crosses", "car crosses")
    low, high = 4.0, 11.0 if is_slow else 18.0
    if scenario == "drive":
        low, high = 8.0, 12.0
    speed = float(rng.uniform(low, high))
    plan = sample_plan(scenario, speed, rng, duration)
    simulated = simulate(
        plan.drivers,
        plan.maneuvers,
        plan.crossing_actors,
        lanes=(plan.road.forward, plan.road.oncoming),
        lane_width=plan.road.lane_width,
        duration=WARM_UP_S + duration,
    )
    trajectories = {m.name: resample(m, WARM_UP_S + timestamps - timestamps[0]) for m in simulated}
    trajectories |= _add_passersby(plan, float(trajectories[EGO].states[0, 0]), rng, timestamps - timestamps[0])
    start, end = trajectories[EGO].states[0, 0], trajectories[EGO].states[-1, 0]
    if end - start < _MIN_SPEED * duration:
        return None
    line = _build_road(plan, turn, start, end, duration, rng)
    parked = park_cars(line, plan, start - 25, end + 90, rng)
    footprints = [_footprints(line, trajectory, plan.sizes[trajectory.name]) for trajectory in trajectories.values()]
    footprints += [np.repeat(_static_footprint(body)[None], len(timestamps), 0) for body in parked]
    return None if any_overlap(np.stack(footprints), _MIN_GAP_M) else (plan, line, trajectories, parked)


def _add_passersby(
    plan: TrafficPlan, ego_along: float, rng: np.random.Generator, elapsed: Array
) -> dict[str, Trajectory]:
    """Pedestrians on the sidewalks, and a cyclist if there is a cycle lane."""
    road = plan.road
    passersby: list[tuple[str, float, float, float]] = []
    for _ in range(int(rng.integers(0, 5))):
        side = 1 if rng.random() < 0.5 else -1
        left = side * ((road.left_edge if side > 0 else -road.right_edge) + rng.uniform(0.9, road.sidewalk - 0.4))
        passersby.append(("pedestrian", rng.uniform(4, 55), left, rng.choice([-1, 1]) * rng.uniform(0.9, 1.6)))
    if road.strip_use == "cycling" and rng.random() < 0.7:
        passersby.append(("cyclist", rng.uniform(9, 26), road.right_edge + road.right_strip / 2, rng.uniform(2.5, 5.5)))
    trajectories = {}
    for k, (type_name, ahead, left, pace) in enumerate(passersby):
        name = f"{type_name}{k}"
        plan.type_names[name], plan.sizes[name] = type_name, ROAD_USER_TYPES[type_name].size
        along = ego_along + ahead + pace * elapsed
        trajectories[name] = Trajectory(
            name=name,
            states=np.column_stack(
                [along, np.full(len(elapsed), left), np.full(len(elapsed), 0 if pace > 0 else np.pi)]
            ),
        )
    return trajectories


def _build_road(
    plan: TrafficPlan, turn: str, start: float, end: float, duration: float, rng: np.random.Generator
) -> ReferenceLine:
    """A road for an ego vehicle that drives from ``start`` to ``end`` meters along it."""
    along = np.arange(np.floor(start - _BEHIND_M), end + _AHEAD_M, STEP_M)
    if plan.junctions:
        return integrate_curvature(along, np.zeros_like(along))
    if turn == "winding road":
        return integrate_curvature(along, _winding_curvature(along, start, rng))
    speed = (end - start) / duration
    if turn == "straight road":
        slight_curvature = float(rng.uniform(-0.02, 0.02)) / speed
        arcs = [(start - 30, end + 30, slight_curvature), (end + 50, end + 130, float(rng.uniform(-0.012, 0.012)))]
        return integrate_curvature(along, curvature_profile(along, arcs, 12.0))
    side = 1 if turn == "curved road left" else -1
    rate = np.radians(rng.uniform(5.0, 20.0))
    # Limits: the sampled yaw rate (curvature * speed), 3.2 m/s^2 of lateral acceleration, and the tightest road.
    curvature = min(rate / speed, 3.2 / speed**2, _MAX_CURVATURE)
    ramp = float(rng.uniform(5, 12))
    leave = end + min(float(rng.uniform(5, 30)), 0.7 / curvature)
    after = leave + ramp + float(rng.uniform(5, 40))
    arcs = [
        (start - float(rng.uniform(3, 14)), leave, side * curvature),
        (after, after + 50, float(rng.uniform(-0.012, 0.012))),
    ]
    return integrate_curvature(along, curvature_profile(along, arcs, ramp))


def _winding_curvature(along: Array, start: float, rng: np.random.Generator) -> Array:
    """Curvature ``(N,)`` of alternating left and right bends, so that the road never crosses itself."""
    arcs = []
    position, heading = start + float(rng.uniform(-5, 10)), 0.0
    while position < along[-1]:
        goal = float(-np.sign(heading or rng.choice([-1, 1])) * rng.uniform(0.35, 1.0))
        curvature = float(rng.uniform(1 / 70, 1 / 32)) * np.sign(goal - heading)
        length = (goal - heading) / curvature
        arcs.append((position, position + length, curvature))
        position += length + float(rng.uniform(10, 35))
        heading = goal
    return curvature_profile(along, arcs, 10.0)


def _to_world(line: ReferenceLine, states: Array) -> tuple[Array, Array]:
    """World positions ``(T, 2)`` m and headings ``(T,)`` rad of ``states`` in road coordinates, on the bent road."""
    positions, course = line.to_world(states[:, 0], states[:, 1])
    # At lateral offset d, a meter along a line with curvature k is 1 - k d meters long, which changes the heading.
    stretch = 1 - line.curvature_at(states[:, 0]) * states[:, 1]
    return positions, course + np.arctan2(np.sin(states[:, 2]), np.cos(states[:, 2]) * stretch)


def _footprints(line: ReferenceLine, trajectory: Trajectory, size: tuple[float, float, float]) -> Array:
    positions, headings = _to_world(line, trajectory.states)
    return np.stack([footprint(x, y, h, size[0], size[1]) for (x, y), h in zip(positions, headings, strict=True)])


def _static_footprint(body: Body) -> Array:
    m = body.poses[0]
    return footprint(m[0, 3], m[1, 3], float(np.arctan2(m[1, 0], m[0, 0])), body.size[0], body.size[1])


def _build_world(
    variant: str,
    turn: str,
    plan: TrafficPlan,
    line: ReferenceLine,
    trajectories: dict[str, Trajectory],
    parked: tuple[Body, ...],
    seed: int,
    rng: np.random.Generator,
    timestamps: Array,
) -> World:
    ego = trajectories.pop(EGO)
    moving = tuple(_moving_body(line, plan, trajectory, rng, timestamps) for trajectory in trajectories.values())
    street_objects = place_street_objects(line, plan, rng)
    return World(
        timestamps=timestamps,
        ego_to_world=_ego_path(line, ego, rng, timestamps),
        bodies=moving + parked + street_objects,
        ground=build_ground(line, plan, rng),
        weather=sample_weather(variant, rng),
        caption=f"{variant}, {turn}, {CAPTIONS[plan.event]}",
        seed=seed,
        lanes=lane_lines(line, plan, ego.states[0, 0] - 16, ego.states[-1, 0] + 80),
        metadata={"scenario": plan.event, "road": turn},
    )


def _moving_body(
    line: ReferenceLine, plan: TrafficPlan, trajectory: Trajectory, rng: np.random.Generator, timestamps: Array
) -> Body:
    type_name, size = plan.type_names[trajectory.name], plan.sizes[trajectory.name]
    positions, headings = _to_world(line, trajectory.states)
    colors = {"pedestrian": CLOTHES, "child": CLOTHES, "cyclist": CLOTHES, "bus": BUS_COLORS}.get(type_name, CAR_COLORS)
    steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    speeds = steps / np.diff(timestamps)
    is_braking = np.zeros(len(timestamps), np.bool_)
    if len(speeds) > 1:
        is_braking[:-1] = np.gradient(speeds, timestamps[:-1]) < -0.8
        is_braking[-1] = is_braking[-2]
    return Body(
        parts=build_parts(type_name, size, colors[int(rng.integers(len(colors)))], rng),
        poses=pose(yaw_rotation(headings), np.column_stack([positions, np.zeros(len(positions))])),
        size=size,
        id=trajectory.name,
        category=ROAD_USER_TYPES[type_name].category,
        distance_walked=np.concatenate([[0.0], np.cumsum(steps)]),
        braking=is_braking,
    )


def _ego_path(line: ReferenceLine, trajectory: Trajectory, rng: np.random.Generator, timestamps: Array) -> Array:
    """Poses ``(T, 4, 4)`` of the rear axle on the ground, with slight pitch, roll and heave of the body."""
    center, heading = _to_world(line, trajectory.states)
    elapsed = timestamps - timestamps[0]
    velocity = np.gradient(center, elapsed, axis=0)
    speed = np.linalg.norm(velocity, axis=1)
    pitch = -0.0022 * np.clip(np.gradient(speed, elapsed), -5, 3) + _sway(rng, elapsed, 0.0022)
    roll = 0.0035 * np.clip(speed * np.gradient(np.unwrap(heading), elapsed), -4, 4) + _sway(rng, elapsed, 0.0016)
    heave = _sway(rng, elapsed, 0.008)
    c, s, o, i = np.cos(pitch), np.sin(pitch), np.zeros_like(pitch), np.ones_like(pitch)
    pitch_rotation = np.stack([np.stack([c, o, s], -1), np.stack([o, i, o], -1), np.stack([-s, o, c], -1)], -2)
    c, s = np.cos(roll), np.sin(roll)
    roll_rotation = np.stack([np.stack([i, o, o], -1), np.stack([o, c, -s], -1), np.stack([o, s, c], -1)], -2)
    axle = center - _REAR_AXLE_M * np.stack([np.cos(heading), np.sin(heading)], 1)
    return pose(yaw_rotation(heading) @ pitch_rotation @ roll_rotation, np.column_stack([axle, heave]))


def _sway(rng: np.random.Generator, elapsed: Array, amplitude: float) -> Array:
    """A mean of four slow sine waves, which is smooth at any frame rate."""
    frequency, phase = rng.uniform(0.4, 1.9, 4), rng.uniform(0, 2 * np.pi, 4)
    return amplitude * np.asarray(np.sin(2 * np.pi * np.outer(elapsed, frequency) + phase).mean(1))
