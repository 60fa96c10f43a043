"""Traffic on a straightened road: highway-env's car following and lane changes, and those who cross the road.

Vehicles follow the Intelligent Driver Model (Treiber et al. 2000) and change lane by MOBIL (Kesting et al. 2007), both
as highway-env implements them. The road is simulated straight, in road coordinates; ``reference_line`` bends it later.
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
_NOTICE_S = 1.8
_STEERING_LAG_S = 0.2
_LATERAL_GAIN = 0.65

logging.getLogger("highway_env").setLevel(logging.ERROR)


@dataclass(frozen=True, kw_only=True, slots=True)
class Driver:
    """A vehicle of the traffic: ``lane`` 0.. counts forward lanes from the middle of the road, -1.. oncoming ones."""

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
class Order:
    """At ``time`` s the driver gets a new target speed, a new lane, or both."""

    time: float
    name: str
    target_speed: float | None = None
    lane: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Crosser:
    """Someone who crosses straight at ``along``, from ``start`` to ``end`` metres left, leaving at ``time`` s.

    Drivers keep ``margin`` metres to each side of him clear.
    """

    name: str
    along: float
    start: float
    end: float
    time: float
    speed: float
    margin: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Motion:
    """States ``(N, 3)`` every ``STEP_S``: metres along, metres left, heading in rad against the road."""

    name: str
    states: Array


class _RoadUser(IDMVehicle):
    """An IDM vehicle with its own size and time gap, gentle steering, and no reverse gear."""

    KP_HEADING = 2.4

    def __init__(self, road: Road, driver: Driver, lane: tuple[str, str, int]) -> None:
        self.LENGTH, self.WIDTH = driver.length, driver.width
        course = road.network.get_lane(lane)
        along = course.local_coordinates(np.array([driver.along, course.start[1]]))[0]
        super().__init__(road, course.position(along, 0), course.heading_at(along), driver.speed, lane,
                         driver.target_speed, enable_lane_change=driver.may_change_lane, timer=0.01)  # fmt: skip
        self.TIME_WANTED = driver.time_gap
        self._steering = 0.0
        self.check_collisions = False

    def desired_gap(self, ego_vehicle: Any, front_vehicle: Any = None, projected: bool = True) -> float:
        """IDM's gap between centres, with the jam distance measured from bumper to bumper."""
        self.DISTANCE_WANTED = 2.5 + (ego_vehicle.LENGTH + front_vehicle.LENGTH) / 2
        return float(super().desired_gap(ego_vehicle, front_vehicle, projected))

    def steering_control(self, target_lane_index: Any) -> float:
        """Steers for the lane at an angle of at most about ten degrees, however slow the vehicle is."""
        self.KP_LATERAL = min(_LATERAL_GAIN, 0.05 * max(self.speed, 1.0))
        return float(super().steering_control(target_lane_index))

    def step(self, dt: float) -> None:
        wanted = self.action["acceleration"]
        if self.target_speed < 0.5 and self.speed < 0.4:
            wanted = min(wanted, -self.speed / dt)
        self.action["acceleration"] = max(wanted, -self.speed / dt)
        self._steering += dt / _STEERING_LAG_S * (self.action["steering"] - self._steering)
        self.action["steering"] = self._steering
        super().step(dt)


def simulate(
    drivers: tuple[Driver, ...], orders: tuple[Order, ...], crossers: tuple[Crosser, ...], *, lanes: tuple[int, int],
    lane_width: float, duration: float,
) -> tuple[Motion, ...]:  # fmt: skip
    """Motions of all drivers and crossers over ``duration`` s; ``lanes`` counts forward and oncoming lanes."""
    road = Road(_network(lanes, lane_width), [], np_random=np.random.RandomState(0))
    users = {driver.name: _RoadUser(road, driver, _lane_index(driver.lane)) for driver in drivers}
    road.vehicles.extend(users.values())
    states: dict[str, list[tuple[float, float, float]]] = {name: [] for name in users}
    waiting = sorted(orders, key=lambda order: order.time)
    for step in range(round(duration / STEP_S) + 1):
        time = step * STEP_S
        while waiting and waiting[0].time <= time:
            _obey(users[waiting[0].name], waiting.pop(0))
        for name, user in users.items():
            states[name].append((float(user.position[0]), float(user.position[1]), float(user.heading)))
        road.objects = [block for crosser in crossers for block in _blocks(road, crosser, time, lanes, lane_width)]
        road.act()
        road.step(STEP_S)
    motions = [Motion(name=name, states=np.array(rows)) for name, rows in states.items()]
    return (*motions, *(_walk(crosser, duration) for crosser in crossers))


def _network(lanes: tuple[int, int], width: float) -> RoadNetwork:
    """Forward lanes right of (below) the middle, oncoming ones left of it; highway-env's y is our left."""
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


def _obey(user: _RoadUser, order: Order) -> None:
    if order.target_speed is not None:
        user.target_speed = order.target_speed
    if order.lane is not None:
        user.target_lane_index = _lane_index(order.lane)


def _left_at(crosser: Crosser, time: float) -> float:
    way = crosser.end - crosser.start
    return crosser.start + float(np.sign(way)) * min(max(time - crosser.time, 0.0) * crosser.speed, abs(way))


def _blocks(road: Road, crosser: Crosser, time: float, lanes: tuple[int, int], width: float) -> list[Obstacle]:
    """What drivers yield to: an obstacle in every lane that the crosser is on, or will be within a moment."""
    now, soon = _left_at(crosser, time), _left_at(crosser, time + _NOTICE_S)
    low, high = min(now, soon) - crosser.margin, max(now, soon) + crosser.margin
    blocks = []
    for lane in [*range(lanes[0]), *range(-lanes[1], 0)]:
        centre = -(lane + 0.5) * width
        if low < centre + width / 2 and high > centre - width / 2 and time >= crosser.time - _NOTICE_S:
            block = Obstacle(road, [crosser.along, centre])
            block.LENGTH, block.collidable = 2 * crosser.margin, False
            blocks.append(block)
    return blocks


def _walk(crosser: Crosser, duration: float) -> Motion:
    times = np.arange(round(duration / STEP_S) + 1) * STEP_S
    left = np.array([_left_at(crosser, t) for t in times])
    heading = np.full(len(times), np.pi / 2 * np.sign(crosser.end - crosser.start))
    return Motion(name=crosser.name, states=np.column_stack([np.full(len(times), crosser.along), left, heading]))


def resample(motion: Motion, times: Array) -> Motion:
    """The same motion at ``times`` (s since the simulation began), interpolated linearly between steps."""
    grid = np.arange(len(motion.states)) * STEP_S
    columns = [
        np.interp(times, grid, np.unwrap(column) if k == 2 else column) for k, column in enumerate(motion.states.T)
    ]
    return replace(motion, states=np.stack(columns, 1))
