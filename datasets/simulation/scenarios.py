"""Scenarios of driving clips: one main event, and surrounding traffic."""

from collections.abc import Callable

import numpy as np

from driveforge.datasets.simulation.traffic import CrossingActor, Maneuver
from driveforge.datasets.simulation.traffic_plan import EGO, WARM_UP_S, CrossSection, TrafficPlan, TrafficPlanBuilder

SCENARIOS = ("follow", "brake", "lane change", "cut in", "pedestrian crosses", "car crosses", "oncoming", "parked")
# Vehicles that pass within a few meters or enter the image at its edge, which the scenarios above seldom show.
CLOSE_SCENARIOS = ("overtaken", "overtake", "close oncoming", "close cut in")
CAPTIONS = {
    "follow": "car ahead", "brake": "car ahead brakes", "lane change": "ego changes lane", "cut in": "car cuts in",
    "pedestrian crosses": "pedestrian crosses", "car crosses": "car crosses", "oncoming": "oncoming cars",
    "parked": "parked cars", "drive": "traffic", "overtaken": "car overtakes", "overtake": "ego overtakes",
    "close oncoming": "oncoming cars", "close cut in": "car cuts in",
}  # fmt: skip


_NEED_FREE_SIDE_LANE = ("lane change", "cut in", "overtaken", "overtake", "close cut in")


def sample_plan(scenario: str, speed: float, rng: np.random.Generator, duration: float) -> TrafficPlan:
    """A traffic plan for a clip of ``duration`` s after the warm-up, with the ego vehicle at about ``speed`` m/s."""
    road = _sample_cross_section(rng, scenario)
    builder = TrafficPlanBuilder(
        rng=rng, road=road, lane=int(rng.integers(road.forward)), speed=speed, duration=duration
    )
    builder.add_ego()
    _SCENARIO_BUILDERS[scenario](builder)
    if rng.random() < 0.5:
        builder.add_vehicle("follower", builder.lane, -9.5 - speed * builder.uniform(0.7, 1.3), speed * 0.97)
    _fill_side_lanes(builder, is_crowded=scenario in ("oncoming", "drive"), is_quiet=scenario in _NEED_FREE_SIDE_LANE)
    _fill_oncoming_lanes(builder, is_crowded=scenario in ("oncoming", "close oncoming", "drive"))
    return TrafficPlan(
        event=scenario,
        road=road,
        drivers=tuple(builder.drivers),
        maneuvers=tuple(builder.maneuvers),
        crossing_actors=tuple(builder.crossing_actors),
        type_names=builder.type_names,
        sizes=builder.sizes,
        junctions=tuple(builder.junctions),
        crosswalks=tuple(builder.crosswalks),
    )


def _sample_cross_section(rng: np.random.Generator, scenario: str) -> CrossSection:
    forward = 2 if scenario in (*_NEED_FREE_SIDE_LANE, "drive") else int(rng.choice([1, 1, 2]))
    oncoming = int(rng.choice([1, 2])) if scenario == "oncoming" else int(rng.choice([0, 1, 1, 2]))
    if scenario == "close oncoming":  # no lane between the ego vehicle and those that it meets
        forward, oncoming = 1, max(oncoming, 1)
    use = "parking" if scenario == "parked" else str(rng.choice(["parking", "cycling", "none"]))
    strip = {"parking": 2.5, "cycling": 1.9, "none": 0.5}[use]
    return CrossSection(
        forward=forward,
        oncoming=oncoming,
        lane_width=float(rng.uniform(3.1, 3.7)),
        strip_use=use,
        right_strip=strip,
        left_strip=strip if rng.random() < 0.7 else 0.5,
        sidewalk=float(rng.uniform(1.8, 3.5)),
    )


def _follow(builder: TrafficPlanBuilder) -> None:
    gap = 7.5 + builder.speed * builder.uniform(0.55, 1.2)
    builder.add_vehicle("leader", builder.lane, gap, builder.speed, target=builder.speed * builder.uniform(0.8, 1.15))
    if builder.rng.random() < 0.4:
        beyond = gap + 12 + builder.speed * builder.uniform(0.8, 1.4)
        builder.add_vehicle("second", builder.lane, beyond, builder.speed, target=1.1 * builder.speed)


def _brake(builder: TrafficPlanBuilder) -> None:
    _follow(builder)
    slow = float(builder.rng.choice([0.01, builder.speed / 3]))
    builder.maneuvers.append(Maneuver(time=WARM_UP_S + builder.uniform(-0.5, 0.3), name="leader", target_speed=slow))


def _change_lane(builder: TrafficPlanBuilder) -> None:
    if builder.rng.random() < 0.6:
        gap = 7.5 + builder.speed * builder.uniform(0.55, 1.2)
        builder.add_vehicle("leader", builder.lane, gap, 0.85 * builder.speed)
    builder.maneuvers.append(Maneuver(time=WARM_UP_S - builder.uniform(0.1, 0.8), name=EGO, lane=1 - builder.lane))


def _cut_in(builder: TrafficPlanBuilder) -> None:
    builder.add_vehicle("cutter", 1 - builder.lane, builder.uniform(9, 14), builder.speed + 0.8)
    builder.maneuvers.append(Maneuver(time=WARM_UP_S - builder.uniform(0.0, 0.8), name="cutter", lane=builder.lane))


def _overtaken(builder: TrafficPlanBuilder) -> None:
    """A faster vehicle comes from beside or behind the ego vehicle, so it enters the image at its edge."""
    faster = builder.uniform(4, 9)
    _add_beside(builder, builder.uniform(-2, 3), builder.speed + faster)


def _overtake(builder: TrafficPlanBuilder) -> None:
    """The ego vehicle passes a slower one, which leaves the image at its edge."""
    _add_beside(builder, builder.uniform(6, 12), builder.speed - min(builder.uniform(3, 7), builder.speed - 1))


def _add_beside(builder: TrafficPlanBuilder, ahead: float, speed: float) -> None:
    """Add a vehicle in the other forward lane that is ``ahead`` m at the start of the clip."""
    builder.add_vehicle("passing", 1 - builder.lane, ahead - (speed - builder.speed) * WARM_UP_S, speed)


def _close_cut_in(builder: TrafficPlanBuilder) -> None:
    faster = builder.uniform(1.5, 3)
    builder.add_vehicle("cutter", 1 - builder.lane, builder.uniform(6, 9) - faster * WARM_UP_S, builder.speed + faster)
    builder.maneuvers.append(Maneuver(time=WARM_UP_S - builder.uniform(0.0, 0.5), name="cutter", lane=builder.lane))


def _pedestrian_crosses(builder: TrafficPlanBuilder) -> None:
    along = builder.start + 1.05 * builder.speed + builder.uniform(6, 11)
    _add_pedestrian(builder, along, WARM_UP_S)
    if builder.rng.random() < 0.65:
        builder.crosswalks.append(along)


def _add_pedestrian(builder: TrafficPlanBuilder, along: float, time_on_road: float) -> None:
    """Add a pedestrian who is on the road at ``time_on_road`` s, just before the ego lane."""
    name = f"crosser{len(builder.crossing_actors)}"
    builder.assign_type(name, ("pedestrian", "pedestrian", "child"))
    ends = [builder.road.right_edge - 1.2, builder.road.left_edge + 1.2]
    if builder.rng.random() < 0.4:
        ends.reverse()
    pace = builder.uniform(1.1, 2.0)
    lead = max(abs(ends[0]) - 3.0, 0.6) / pace * builder.uniform(0.9, 1.4)
    builder.crossing_actors.append(
        CrossingActor(
            name=name, along=along, start=ends[0], end=ends[1], time=time_on_road - lead, speed=pace, margin=0.8
        )
    )


def _car_crosses(builder: TrafficPlanBuilder) -> None:
    builder.assign_type("crosser0", ("sedan", "hatchback", "suv", "van", "truck"))
    along = builder.start + 1.3 * builder.speed + builder.uniform(11, 18)
    start = 45.0 * float(builder.rng.choice([-1, 1]))
    pace = builder.uniform(5.5, 9.0)
    drive_time = abs(start - builder.road.lane_center(builder.lane)) / pace
    departure = WARM_UP_S + builder.uniform(0.2, 1.2) - drive_time
    builder.crossing_actors.append(
        CrossingActor(name="crosser0", along=along, start=start, end=-start, time=departure, speed=pace, margin=3.5)
    )
    builder.junctions.append((along, builder.uniform(4.5, 6.0)))


def _maybe_follow(builder: TrafficPlanBuilder) -> None:
    if builder.rng.random() < 0.6:
        _follow(builder)


def _long_drive(builder: TrafficPlanBuilder) -> None:
    """The leader slows down and accelerates again, the ego vehicle changes lanes, pedestrians cross."""
    _follow(builder)
    time, lane = WARM_UP_S + builder.uniform(1, 4), builder.lane
    while time < WARM_UP_S + builder.duration:
        lane = 1 - lane
        builder.maneuvers += [
            Maneuver(time=time, name="leader", target_speed=0.35 * builder.speed),
            Maneuver(time=time + 2.0, name="leader", target_speed=1.1 * builder.speed),
            Maneuver(time=time + 4.0, name=EGO, lane=lane),
        ]
        time += builder.uniform(8, 11)
    for time_on_road in np.arange(WARM_UP_S + 6, WARM_UP_S + builder.duration, 11.0):
        along = 0.8 * builder.speed * float(time_on_road) + 16
        _add_pedestrian(builder, along, float(time_on_road))
        builder.crosswalks.append(along)


def _fill_side_lanes(builder: TrafficPlanBuilder, *, is_crowded: bool, is_quiet: bool) -> None:
    """Add vehicles in the other forward lanes; only far ahead if ``is_quiet``, to leave room for a lane change."""
    for lane in set(range(builder.road.forward)) - {builder.lane}:
        along = builder.speed + builder.uniform(28, 40) if is_quiet else builder.uniform(-12, 16)
        for k in range(int(builder.rng.integers(0, 3)) + is_crowded):
            may_change_lane = not is_quiet and builder.rng.random() < 0.3
            builder.add_vehicle(
                f"side{lane}-{k}",
                lane,
                along,
                builder.speed * builder.uniform(0.85, 1.1),
                may_change_lane=may_change_lane,
            )
            along += builder.uniform(13, 30) + 0.6 * builder.speed


def _fill_oncoming_lanes(builder: TrafficPlanBuilder, *, is_crowded: bool) -> None:
    """Add vehicles that the ego meets during the clip; with ``is_crowded`` all along the drive, else fewer."""
    pace = float(np.clip(builder.speed * builder.uniform(0.7, 1.2), 3, 16))
    nearest = (builder.speed + pace) * WARM_UP_S
    farthest = nearest + 60 + (builder.duration * (pace + builder.speed) if is_crowded else 0)
    for lane in range(builder.road.oncoming):
        along = nearest + builder.uniform(8, 24)
        while along < farthest and (is_crowded or builder.rng.random() < 0.75):
            builder.add_vehicle(f"oncoming{lane}-{len(builder.drivers)}", -1 - lane, along, pace)
            along += builder.uniform(14, 34) * (2 if builder.duration > 5 else 1) + 0.7 * pace


_SCENARIO_BUILDERS: dict[str, Callable[[TrafficPlanBuilder], None]] = {
    "follow": _follow,
    "brake": _brake,
    "lane change": _change_lane,
    "cut in": _cut_in,
    "pedestrian crosses": _pedestrian_crosses,
    "car crosses": _car_crosses,
    "oncoming": _maybe_follow,
    "parked": _maybe_follow,
    "drive": _long_drive,
    "overtaken": _overtaken,
    "overtake": _overtake,
    "close oncoming": _maybe_follow,
    "close cut in": _close_cut_in,
}
