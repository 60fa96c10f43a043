"""What happens in a driving clip: the one event that it is about, and the traffic round it."""

from collections.abc import Callable

import numpy as np

from driveforge.datasets.simulation.plan import EGO, WARM_UP_S, Casting, CrossSection, Plan
from driveforge.datasets.simulation.traffic import Crosser, Order

SCENARIOS = ("follow", "brake", "lane change", "cut in", "pedestrian crosses", "car crosses", "oncoming", "parked")
CAPTIONS = {
    "follow": "car ahead", "brake": "car ahead brakes", "lane change": "ego changes lane", "cut in": "car cuts in",
    "pedestrian crosses": "pedestrian crosses", "car crosses": "car crosses", "oncoming": "oncoming cars",
    "parked": "parked cars", "drive": "traffic",
}  # fmt: skip


def draw_plan(scenario: str, speed: float, rng: np.random.Generator, duration: float) -> Plan:
    """A plan for a clip of ``duration`` s after the warm-up, the ego going at about ``speed`` m/s."""
    road = _draw_cross_section(rng, scenario)
    cast = Casting(rng=rng, road=road, lane=int(rng.integers(road.forward)), speed=speed, duration=duration)
    cast.drive_ego()
    _SCENES[scenario](cast)
    if rng.random() < 0.5:
        cast.drive("follower", cast.lane, -9.5 - speed * cast.uniform(0.7, 1.3), speed * 0.97)
    _fill_side_lanes(cast, crowded=scenario in ("oncoming", "drive"), quiet=scenario in ("lane change", "cut in"))
    _fill_oncoming_lanes(cast, crowded=scenario in ("oncoming", "drive"))
    return Plan(
        event=scenario,
        road=road,
        drivers=tuple(cast.drivers),
        orders=tuple(cast.orders),
        crossers=tuple(cast.crossers),
        kinds=cast.kinds,
        sizes=cast.sizes,
        junctions=tuple(cast.junctions),
        zebras=tuple(cast.zebras),
    )


def _draw_cross_section(rng: np.random.Generator, scenario: str) -> CrossSection:
    forward = 2 if scenario in ("lane change", "cut in", "drive") else int(rng.choice([1, 1, 2]))
    oncoming = int(rng.choice([1, 2])) if scenario == "oncoming" else int(rng.choice([0, 1, 1, 2]))
    use = "parking" if scenario == "parked" else str(rng.choice(["parking", "cycling", "none"]))
    strip = {"parking": 2.5, "cycling": 1.9, "none": 0.5}[use]
    return CrossSection(
        forward=forward,
        oncoming=oncoming,
        lane_width=float(rng.uniform(3.1, 3.7)),
        strip_use=use,
        right_strip=strip,
        left_strip=strip if rng.random() < 0.7 else 0.5,
        pavement=float(rng.uniform(1.8, 3.5)),
    )


def _follow(cast: Casting) -> None:
    gap = 7.5 + cast.speed * cast.uniform(0.55, 1.2)
    cast.drive("leader", cast.lane, gap, cast.speed, target=cast.speed * cast.uniform(0.8, 1.15))
    if cast.rng.random() < 0.4:
        beyond = gap + 12 + cast.speed * cast.uniform(0.8, 1.4)
        cast.drive("second", cast.lane, beyond, cast.speed, target=1.1 * cast.speed)


def _brake(cast: Casting) -> None:
    _follow(cast)
    slow = float(cast.rng.choice([0.01, cast.speed / 3]))
    cast.orders.append(Order(time=WARM_UP_S + cast.uniform(-0.5, 0.3), name="leader", target_speed=slow))


def _change_lane(cast: Casting) -> None:
    if cast.rng.random() < 0.6:
        gap = 7.5 + cast.speed * cast.uniform(0.55, 1.2)
        cast.drive("leader", cast.lane, gap, 0.85 * cast.speed)
    cast.orders.append(Order(time=WARM_UP_S - cast.uniform(0.1, 0.8), name=EGO, lane=1 - cast.lane))


def _cut_in(cast: Casting) -> None:
    cast.drive("cutter", 1 - cast.lane, cast.uniform(9, 14), cast.speed + 0.8)
    cast.orders.append(Order(time=WARM_UP_S - cast.uniform(0.0, 0.8), name="cutter", lane=cast.lane))


def _cross_on_foot(cast: Casting) -> None:
    along = cast.start + 1.05 * cast.speed + cast.uniform(6, 11)
    _send_pedestrian(cast, along, WARM_UP_S)
    if cast.rng.random() < 0.65:
        cast.zebras.append(along)


def _send_pedestrian(cast: Casting, along: float, when: float) -> None:
    """Someone who at ``when`` s is on the road, a little short of the ego's lane."""
    name = f"crosser{len(cast.crossers)}"
    cast.dress(name, ("pedestrian", "pedestrian", "child"))
    ends = [cast.road.right_edge - 1.2, cast.road.left_edge + 1.2]
    if cast.rng.random() < 0.4:
        ends.reverse()
    pace = cast.uniform(1.1, 2.0)
    lead = max(abs(ends[0]) - 3.0, 0.6) / pace * cast.uniform(0.9, 1.4)
    cast.crossers.append(
        Crosser(name=name, along=along, start=ends[0], end=ends[1], time=when - lead, speed=pace, margin=0.8)
    )


def _cross_by_car(cast: Casting) -> None:
    cast.dress("crosser0", ("sedan", "hatchback", "suv", "van", "truck"))
    along = cast.start + 1.3 * cast.speed + cast.uniform(11, 18)
    start = 45.0 * float(cast.rng.choice([-1, 1]))
    pace = cast.uniform(5.5, 9.0)
    drive_time = abs(start - cast.road.lane_centre(cast.lane)) / pace
    leaves = WARM_UP_S + cast.uniform(0.2, 1.2) - drive_time
    cast.crossers.append(
        Crosser(name="crosser0", along=along, start=start, end=-start, time=leaves, speed=pace, margin=3.5)
    )
    cast.junctions.append((along, cast.uniform(4.5, 6.0)))


def _perhaps_follow(cast: Casting) -> None:
    if cast.rng.random() < 0.6:
        _follow(cast)


def _long_drive(cast: Casting) -> None:
    """The leader slows and picks up again, the ego changes lane, pedestrians cross."""
    _follow(cast)
    time, lane = WARM_UP_S + cast.uniform(1, 4), cast.lane
    while time < WARM_UP_S + cast.duration:
        lane = 1 - lane
        cast.orders += [
            Order(time=time, name="leader", target_speed=0.35 * cast.speed),
            Order(time=time + 2.0, name="leader", target_speed=1.1 * cast.speed),
            Order(time=time + 4.0, name=EGO, lane=lane),
        ]
        time += cast.uniform(8, 11)
    for when in np.arange(WARM_UP_S + 6, WARM_UP_S + cast.duration, 11.0):
        along = 0.8 * cast.speed * float(when) + 16
        _send_pedestrian(cast, along, float(when))
        cast.zebras.append(along)


def _fill_side_lanes(cast: Casting, *, crowded: bool, quiet: bool) -> None:
    """Vehicles beside the ego's lane; far ahead only where a change of lane needs room (``quiet``)."""
    for lane in set(range(cast.road.forward)) - {cast.lane}:
        along = cast.speed + cast.uniform(28, 40) if quiet else cast.uniform(-12, 16)
        for k in range(int(cast.rng.integers(0, 3)) + crowded):
            lively = not quiet and cast.rng.random() < 0.3
            cast.drive(f"side{lane}-{k}", lane, along, cast.speed * cast.uniform(0.85, 1.1), lively=lively)
            along += cast.uniform(13, 30) + 0.6 * cast.speed


def _fill_oncoming_lanes(cast: Casting, *, crowded: bool) -> None:
    """Vehicles that the ego meets within the clip, or further on in long drives, where they are fewer."""
    pace = float(np.clip(cast.speed * cast.uniform(0.7, 1.2), 3, 16))
    nearest = (cast.speed + pace) * WARM_UP_S
    farthest = nearest + 60 + (cast.duration * (pace + cast.speed) if crowded else 0)
    for lane in range(cast.road.oncoming):
        along = nearest + cast.uniform(8, 24)
        while along < farthest and (crowded or cast.rng.random() < 0.75):
            cast.drive(f"oncoming{lane}-{len(cast.drivers)}", -1 - lane, along, pace)
            along += cast.uniform(14, 34) * (2 if cast.duration > 5 else 1) + 0.7 * pace


_SCENES: dict[str, Callable[[Casting], None]] = {
    "follow": _follow,
    "brake": _brake,
    "lane change": _change_lane,
    "cut in": _cut_in,
    "pedestrian crosses": _cross_on_foot,
    "car crosses": _cross_by_car,
    "oncoming": _perhaps_follow,
    "parked": _perhaps_follow,
    "drive": _long_drive,
}
