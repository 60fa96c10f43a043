"""Traffic simulation on a straight road, with crossing pedestrians and vehicles.

Vehicles follow the Intelligent Driver Model (Treiber et al. 2000) and change lanes by MOBIL (Kesting et al. 2007), both
as implemented in highway-env. The road is simulated in road coordinates, and bent later (``reference_line``).
"""

import logging
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from highway_env.road.lane import StraightLane
from highway_env.road.road import Road, RoadNetwork
from highway_env.vehicle.behavior import IDMVehicle
from highway_env.vehicle.objects import Obstacle

from driveforge.datasets.geometry import Array

STEP_S = 0.05
_ROAD_START, _ROAD_END = -400.0, 2400.0
_YIELD_LOOKAHEAD_S = 1.8
_STEERING_LAG_S = 0.2
_LATERAL_GAIN = 0.65

logging.getLogger("highway_env").setLevel(logging.ERROR)


@dataclass(frozen=True, kw_only=True, slots=True)
class Driver:
    """A vehicle: ``along``, ``length`` and ``width`` in m, speeds in m/s, ``time_gap`` in s.

    ``lane`` is 0, 1, ... for forward lanes from the middle of the road, and -1, -2, ... for oncoming lanes.
    """

    name: str
    length: float
    width: float
    lane: int
    along: float
    speed: float
    target_speed: float
    time_gap: float = 1.2
    may_change_lane: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Maneuver:
    """A new target speed in m/s, a new lane, or both, for a driver at ``time`` s."""

    time: float
    name: str
    target_speed: float | None = None
    lane: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CrossingActor:
    """A pedestrian or vehicle that crosses the road at ``along`` m, from ``start`` to ``end`` m left, from ``time`` s.

    Drivers yield within ``margin`` m on both sides.
    """

    name: str
    along: float
    start: float
    end: float
    time: float
    speed: float
    margin: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Trajectory:
    """States ``(N, 3)`` every ``STEP_S``: meters along, meters left, heading in rad relative to the road."""

    name: str
    states: Array


class _RoadUser(IDMVehicle):
    """An IDM vehicle with individual size and time gap, smooth steering, and no reverse driving."""

    KP_HEADING = 2.4

    def __init__(self, road: Road, driver: Driver, lane: tuple[str, str, int]) -> None:
        self.LENGTH, self.WIDTH = driver.length, driver.width
        lane_geometry = road.network.get_lane(lane)
        along = lane_geometry.local_coordinates(np.array([driver.along, lane_geometry.start[1]]))[0]
        super().__init__(road, lane_geometry.position(along, 0), lane_geometry.heading_at(along), driver.speed, lane,
                         driver.target_speed, enable_lane_change=driver.may_change_lane, timer=0.01)  # fmt: skip
        self.TIME_WANTED = driver.time_gap
        self._steering = 0.0
        self.check_collisions = False

    def desired_gap(self, ego_vehicle: Any, front_vehicle: Any = None, projected: bool = True) -> float:
        """The desired gap of IDM between centers, with the jam distance measured from bumper to bumper."""
        self.DISTANCE_WANTED = 2.5 + (ego_vehicle.LENGTH + front_vehicle.LENGTH) / 2
        return float(super().desired_gap(ego_vehicle, front_vehicle, projected))

    def steering_control(self, target_lane_index: Any) -> float:
        """Steer toward the lane at an angle of at most about ten degrees, also at low speed."""
        self.KP_LATERAL = min(_LATERAL_GAIN, 0.05 * max(self.speed, 1.0))
        return float(super().steering_control(target_lane_index))

    def step(self, dt: float) -> None:
        acceleration = self.action["acceleration"]
        if self.target_speed < 0.5 and self.speed < 0.4:
            acceleration = min(acceleration, -self.speed / dt)
        self.action["acceleration"] = max(acceleration, -self.speed / dt)
        self._steering += dt / _STEERING_LAG_S * (self.action["steering"] - self._steering)
        self.action["steering"] = self._steering
        super().step(dt)


def simulate(
    drivers: tuple[Driver, ...],
    maneuvers: tuple[Maneuver, ...],
    crossing_actors: tuple[CrossingActor, ...],
    *,
    lanes: tuple[int, int],
    lane_width: float,
    duration: float,
) -> tuple[Trajectory, ...]:
    """Trajectories of all drivers and crossing actors over ``duration`` s; ``lanes`` is (forward, oncoming)."""
    road = Road(_network(lanes, lane_width), [], np_random=np.random.RandomState(0))
    users = {driver.name: _RoadUser(road, driver, _lane_index(driver.lane)) for driver in drivers}
    road.vehicles.extend(users.values())
    states: dict[str, list[tuple[float, float, float]]] = {name: [] for name in users}
    pending = sorted(maneuvers, key=lambda maneuver: maneuver.time)
    for step in range(round(duration / STEP_S) + 1):
        time = step * STEP_S
        while pending and pending[0].time <= time:
            _apply_maneuver(users[pending[0].name], pending.pop(0))
        for name, user in users.items():
            states[name].append((float(user.position[0]), float(user.position[1]), float(user.heading)))
        road.objects = [
            obstacle
            for crossing_actor in crossing_actors
            for obstacle in _obstacles(road, crossing_actor, time, lanes, lane_width)
        ]
        road.act()
        road.step(STEP_S)
    trajectories = [Trajectory(name=name, states=np.array(rows)) for name, rows in states.items()]
    return (*trajectories, *(_crossing_trajectory(crossing_actor, duration) for crossing_actor in crossing_actors))


def _network(lanes: tuple[int, int], width: float) -> RoadNetwork:
    """Forward lanes right of the middle and oncoming lanes left of it; y of highway-env is meters left."""
    network = RoadNetwork()
    for i in range(lanes[0]):
        y = -(i + 0.5) * width
        network.add_lane("a", "b", StraightLane([_ROAD_START, y], [_ROAD_END, y], width=width, speed_limit=30))
    for i in range(lanes[1]):
        y = (i + 0.5) * width
        network.add_lane("b", "a", StraightLane([_ROAD_END, y], [_ROAD_START, y], width=width, speed_limit=30))
    return network


def _lane_index(lane: int) -> tuple[str, str, int]:
    return ("a", "b", lane) if lane >= 0 else ("b", "a", -1 - lane)


def _apply_maneuver(user: _RoadUser, maneuver: Maneuver) -> None:
    if maneuver.target_speed is not None:
        user.target_speed = maneuver.target_speed
    if maneuver.lane is not None:
        user.target_lane_index = _lane_index(maneuver.lane)


def _lateral_position(crossing_actor: CrossingActor, time: float) -> float:
    displacement = crossing_actor.end - crossing_actor.start
    return crossing_actor.start + float(np.sign(displacement)) * min(
        max(time - crossing_actor.time, 0.0) * crossing_actor.speed, abs(displacement)
    )


def _obstacles(
    road: Road, crossing_actor: CrossingActor, time: float, lanes: tuple[int, int], width: float
) -> list[Obstacle]:
    """Obstacles to yield to: one in every lane that the actor occupies now or within ``_YIELD_LOOKAHEAD_S``."""
    now, soon = _lateral_position(crossing_actor, time), _lateral_position(crossing_actor, time + _YIELD_LOOKAHEAD_S)
    low, high = min(now, soon) - crossing_actor.margin, max(now, soon) + crossing_actor.margin
    obstacles = []
    for lane in [*range(lanes[0]), *range(-lanes[1], 0)]:
        center = -(lane + 0.5) * width
        if low < center + width / 2 and high > center - width / 2 and time >= crossing_actor.time - _YIELD_LOOKAHEAD_S:
            obstacle = Obstacle(road, [crossing_actor.along, center])
            obstacle.LENGTH, obstacle.collidable = 2 * crossing_actor.margin, False
            obstacles.append(obstacle)
    return obstacles


def _crossing_trajectory(crossing_actor: CrossingActor, duration: float) -> Trajectory:
    times = np.arange(round(duration / STEP_S) + 1) * STEP_S
    left = np.array([_lateral_position(crossing_actor, t) for t in times])
    heading = np.full(len(times), np.pi / 2 * np.sign(crossing_actor.end - crossing_actor.start))
    return Trajectory(
        name=crossing_actor.name, states=np.column_stack([np.full(len(times), crossing_actor.along), left, heading])
    )


def resample(trajectory: Trajectory, times: Array) -> Trajectory:
    """``trajectory`` at ``times`` in s since the start of the simulation, by linear interpolation."""
    grid = np.arange(len(trajectory.states)) * STEP_S
    columns = [
        np.interp(times, grid, np.unwrap(column) if k == 2 else column) for k, column in enumerate(trajectory.states.T)
    ]
    return replace(trajectory, states=np.stack(columns, 1))
