"""Traffic plans: the cross-section of the road, and the road users of a clip."""

from dataclasses import dataclass, field

import numpy as np

from driveforge.datasets.simulation.road_users import ROAD_USER_TYPES
from driveforge.datasets.simulation.traffic import CrossingActor, Driver, Maneuver
from driveforge.datasets.simulation.world import Size

WARM_UP_S = 2.0
EGO = "ego"
EGO_SIZE: Size = (4.6, 1.9, 1.6)
_VEHICLE_MIX = ("sedan", "hatchback", "suv", "sedan", "hatchback", "suv", "van", "truck", "bus")


@dataclass(frozen=True, kw_only=True, slots=True)
class CrossSection:
    """A road from the center outward: numbers of forward and oncoming lanes, strips and sidewalks, with widths in m.

    ``strip_use`` is parking, cycling or none.
    """

    forward: int
    oncoming: int
    lane_width: float
    left_strip: float
    right_strip: float
    sidewalk: float
    strip_use: str

    @property
    def left_edge(self) -> float:
        return self.oncoming * self.lane_width + self.left_strip

    @property
    def right_edge(self) -> float:
        return -self.forward * self.lane_width - self.right_strip

    def lane_center(self, lane: int) -> float:
        """Lane center in meters left of the road center; lanes are numbered as in ``traffic.Driver``."""
        return -(lane + 0.5) * self.lane_width


@dataclass(frozen=True, kw_only=True, slots=True)
class TrafficPlan:
    """The road users of a clip with their types and sizes (m) by name, and the junctions and crosswalks of the road.

    ``junctions`` are (center, half width) and ``crosswalks`` are centers, in meters along the road.
    """

    event: str
    road: CrossSection
    drivers: tuple[Driver, ...]
    maneuvers: tuple[Maneuver, ...] = ()
    crossing_actors: tuple[CrossingActor, ...] = ()
    type_names: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, Size] = field(default_factory=dict)
    junctions: tuple[tuple[float, float], ...] = ()
    crosswalks: tuple[float, ...] = ()


@dataclass(kw_only=True, slots=True)
class TrafficPlanBuilder:
    """A traffic plan under construction, to which scenarios add road users."""

    rng: np.random.Generator
    road: CrossSection
    lane: int
    speed: float
    duration: float
    drivers: list[Driver] = field(default_factory=list)
    maneuvers: list[Maneuver] = field(default_factory=list)
    crossing_actors: list[CrossingActor] = field(default_factory=list)
    type_names: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, Size] = field(default_factory=dict)
    junctions: list[tuple[float, float]] = field(default_factory=list)
    crosswalks: list[float] = field(default_factory=list)

    @property
    def start(self) -> float:
        """Approximate position of the ego vehicle at the start of the clip, in meters along."""
        return self.speed * WARM_UP_S

    def uniform(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def assign_type(self, name: str, type_names: tuple[str, ...]) -> Size:
        """Assign a random type and a size near the average of that type; returns the size."""
        type_name = str(self.rng.choice(type_names))
        length, width, height = ROAD_USER_TYPES[type_name].size
        scale = self.uniform(0.94, 1.06)
        self.type_names[name] = type_name
        self.sizes[name] = (length * scale, width * self.uniform(0.96, 1.04), height * scale)
        return self.sizes[name]

    def add_vehicle(
        self, name: str, lane: int, along: float, speed: float, *, target: float = 0.0, may_change_lane: bool = False
    ) -> None:
        """Add a vehicle at ``speed`` m/s, with target speed ``target`` if it is not 0."""
        size = self.assign_type(name, _VEHICLE_MIX)
        self.drivers.append(
            Driver(
                name=name,
                length=size[0],
                width=size[1],
                lane=lane,
                along=along,
                speed=speed,
                target_speed=max(target or speed, 0.5),
                time_gap=self.uniform(0.6, 1.2),
                may_change_lane=may_change_lane,
            )
        )

    def add_ego(self) -> None:
        self.sizes[EGO] = EGO_SIZE
        self.drivers.append(
            Driver(
                name=EGO,
                length=EGO_SIZE[0],
                width=EGO_SIZE[1],
                lane=self.lane,
                along=0.0,
                speed=self.speed,
                target_speed=self.speed * self.uniform(0.95, 1.1),
                time_gap=self.uniform(0.5, 1.0),
            )
        )
