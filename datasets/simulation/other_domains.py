"""Worlds of the non-driving domains: orbiting and hand-held cameras, falling bodies, people walking past.

As replay data, they keep a driving model from forgetting other camera and object motion.
"""

from collections.abc import Callable

import numpy as np

from driveforge.datasets.domains import DAY, DUSK, FALLING, HANDHELD, ORBIT, WALKERS
from driveforge.datasets.geometry import Array, pose, yaw_rotation
from driveforge.datasets.simulation.camera_paths import orbit_path, walk_path, watch_path
from driveforge.datasets.simulation.collision import any_overlap, footprint
from driveforge.datasets.simulation.falling import simulate_bounce
from driveforge.datasets.simulation.mesh import CUBOID_FACES, Part, box, translation
from driveforge.datasets.simulation.parking import park_cars
from driveforge.datasets.simulation.props import house
from driveforge.datasets.simulation.random_textures import NUM_FACADES
from driveforge.datasets.simulation.reference_line import STEP_M, integrate_curvature
from driveforge.datasets.simulation.road_surface import build_ground
from driveforge.datasets.simulation.road_users import CLOTHES, ROAD_USER_TYPES, build_parts
from driveforge.datasets.simulation.scenarios import sample_plan
from driveforge.datasets.simulation.solids import SolidSpec, scatter, solid_body, static_body
from driveforge.datasets.simulation.street import place_street_objects, wall_tint
from driveforge.datasets.simulation.weather import sample_weather
from driveforge.datasets.simulation.world import Band, Body, Ground, Weather, World

_ATTEMPTS = 60


def build_other_world(domain: str, seed: int, timestamps: Array) -> World:
    """The world of one clip of ``domain``, one of ``OTHER_DOMAINS``."""
    return _BUILDERS[domain](np.random.default_rng(seed), seed, timestamps)


def _make_world(
    rng: np.random.Generator,
    seed: int,
    timestamps: Array,
    path: Array,
    bodies: list[Body],
    caption: str,
    *,
    ground: Ground | None = None,
    weather: Weather | None = None,
) -> World:
    return World(
        timestamps=timestamps,
        ego_to_world=path,
        bodies=tuple(bodies),
        ground=ground or _make_floor(rng),
        weather=weather or sample_weather(DUSK if rng.random() < 0.15 else DAY, rng),
        caption=caption,
        seed=seed,
        has_interior=True,
    )


def _make_floor(rng: np.random.Generator) -> Ground:
    """An infinite floor with one texture."""
    return Ground(
        coordinates=np.zeros((2, 2, 2), np.float32),
        origin=(0.0, 0.0),
        cell=1.0,
        bands=(Band(edge=1e9, texture="floor", tile=float(rng.uniform(2.5, 6))),),
    )


def _orbit_world(rng: np.random.Generator, seed: int, timestamps: Array) -> World:
    solids = scatter(rng, int(rng.integers(5, 11)), 2.4, (0.45, 1.5))
    bodies = [static_body(rng, f"object{k}", solid) for k, solid in enumerate(solids)]
    path = orbit_path(rng, timestamps)
    bodies += _make_backdrop(rng, 26.0)
    return _make_world(rng, seed, timestamps, path, bodies, "camera orbits objects")


def _make_backdrop(rng: np.random.Generator, radius: float) -> list[Body]:
    """A ring of houses around the origin, with gaps."""
    bodies = []
    for angle in np.arange(12) * 2 * np.pi / 12:
        if rng.random() < 0.75:
            size = (float(rng.uniform(8, 13)), 8.0, float(rng.uniform(4, 11)))
            tint = wall_tint(rng)
            parts = house(size, f"facade{int(rng.integers(NUM_FACADES))}", tint, 6.2, 0.0, (0.5, 0.4, 0.35))
            place = [radius * np.cos(angle), radius * np.sin(angle), 0.0]
            bodies.append(Body(parts=parts, poses=pose(yaw_rotation(angle + np.pi / 2), place)[None], size=size))
    return bodies


def _make_room(rng: np.random.Generator, half: tuple[float, float], height: float) -> list[Body]:
    """Four walls and a ceiling around the origin."""
    tint = tuple(np.clip(rng.uniform(0.65, 1.0) + rng.normal(0, 0.08, 3), 0.3, 1.0))
    bodies = []
    for heading, reach, span in (
        (0.0, half[0], half[1]),
        (np.pi / 2, half[1], half[0]),
        (np.pi, half[0], half[1]),
        (-np.pi / 2, half[1], half[0]),
    ):
        wall = Part(
            vertices=box((0.2, 2 * span + 0.4, height)),
            faces=CUBOID_FACES,
            textures=("wall",) * 6,
            tint=tint,
            tile=height,
        )
        place = [(reach + 0.1) * np.cos(heading), (reach + 0.1) * np.sin(heading), 0.0]
        bodies.append(
            Body(
                parts=(wall,),
                poses=pose(yaw_rotation(heading), place)[None],
                size=(0.2, 2 * span, height),
                casts_shadow=False,
            )
        )
    lid = Part(
        vertices=box((2 * half[0] + 0.4, 2 * half[1] + 0.4, 0.2)),
        faces=CUBOID_FACES,
        textures=("plaster",) * 6,
        tile=3.0,
        to_body=translation(0, 0, height),
    )
    bodies.append(Body(parts=(lid,), poses=np.eye(4)[None], size=(1.0, 1.0, 1.0), casts_shadow=False))
    return bodies


def _handheld_world(rng: np.random.Generator, seed: int, timestamps: Array) -> World:
    if rng.random() < 0.5:
        return _handheld_street_world(rng, seed, timestamps)
    half = (float(rng.uniform(4, 7)), float(rng.uniform(3, 5)))
    bodies = _make_room(rng, half, float(rng.uniform(2.6, 3.4)))
    path = walk_path(rng, timestamps, np.array([-half[0] + 1.0, rng.uniform(-1, 1)]), 0.0)
    for k, solid in enumerate(scatter(rng, 24, half[0] - 0.9, (0.4, 1.3))):
        off_path = np.linalg.norm(path[:, :2, 3] - solid.place, axis=1).min() > 1.3
        if off_path and abs(solid.place[1]) < half[1] - 0.9:
            bodies.append(static_body(rng, f"object{k}", solid))
    indoors = sample_weather(DAY, rng)
    return _make_world(rng, seed, timestamps, path, bodies, "hand-held camera in a room", weather=indoors)


def _handheld_street_world(rng: np.random.Generator, seed: int, timestamps: Array) -> World:
    """A walk on the sidewalk of a street with parked cars and no traffic."""
    plan = sample_plan("parked", 5.0, rng, float(timestamps[-1] - timestamps[0]))
    line = integrate_curvature(np.arange(-60, 120, STEP_M), np.zeros(int(180 / STEP_M)))
    path = walk_path(rng, timestamps, np.array([0.0, plan.road.right_edge - 0.55 * plan.road.sidewalk]), 0.0)
    bodies = [*park_cars(line, plan, -10, 60, rng), *place_street_objects(line, plan, rng)]
    clear = [body for body in bodies if np.linalg.norm(path[:, :2, 3] - body.poses[0, :2, 3], axis=1).min() > 0.8]
    return _make_world(
        rng, seed, timestamps, path, clear, "hand-held camera in a street", ground=build_ground(line, plan, rng)
    )


def _falling_world(rng: np.random.Generator, seed: int, timestamps: Array) -> World:
    for _ in range(_ATTEMPTS):
        solids = scatter(rng, int(rng.integers(3, 8)), 1.7, (0.3, 0.8))
        bodies = [_make_falling_body(rng, f"object{k}", solid, timestamps) for k, solid in enumerate(solids)]
        footprints = np.stack([_footprint_path(body) for body in bodies])
        if not any_overlap(footprints, 0.02):
            break
    angle = rng.uniform(0, 2 * np.pi)
    distance = rng.uniform(4.5, 6.5)
    position = np.array([distance * np.cos(angle), distance * np.sin(angle), rng.uniform(1.0, 2.2)])
    path = watch_path(rng, timestamps, position, np.array([0, 0, rng.uniform(0.7, 1.1)]))
    surroundings = _make_room(rng, (9.0, 9.0), 6.0) if rng.random() < 0.5 else _make_backdrop(rng, 24.0)
    return _make_world(rng, seed, timestamps, path, bodies + surroundings, "bodies fall and bounce")


def _make_falling_body(rng: np.random.Generator, name: str, solid: SolidSpec, timestamps: Array) -> Body:
    poses = simulate_bounce(
        timestamps,
        solid.place,
        solid.heading,
        solid.size,
        height=float(rng.uniform(0.6, 3.2)),
        velocity=rng.uniform(-0.7, 0.7, 2),
        lift=float(rng.uniform(-1, 2.5)),
        spin=float(rng.uniform(-3, 3)),
        restitution=float(rng.uniform(0.45, 0.8)),
        is_rolling=solid.shape == "ball",
    )
    return solid_body(rng, name, solid, poses)


def _footprint_path(body: Body) -> Array:
    """Footprints ``(T, 6)`` of a moving body: a square that bounds it at any heading."""
    reach = float(np.hypot(body.size[0], body.size[1])) if body.parts[0].faces is CUBOID_FACES else body.size[0]
    return np.stack([footprint(x, y, 0.0, reach, reach) for x, y in body.poses[:, :2, 3]])


def _walkers_world(rng: np.random.Generator, seed: int, timestamps: Array) -> World:
    elapsed = timestamps - timestamps[0]
    for _ in range(_ATTEMPTS):
        bodies = [_make_walker(rng, f"walker{k}", elapsed) for k in range(int(rng.integers(3, 9)))]
        footprints = np.stack([[footprint(m[0, 3], m[1, 3], 0.0, 0.7, 0.7) for m in body.poses] for body in bodies])
        if not any_overlap(footprints, 0.1):
            break
    path = watch_path(
        rng, timestamps, np.array([0.0, 0.0, rng.uniform(1.2, 2.4)]), np.array([9.0, rng.uniform(-1, 1), 1.0])
    )
    surroundings = [
        Body(parts=b.parts, poses=pose(np.eye(3), [6.0, 0, 0]) @ b.poses, size=b.size)
        for b in _make_backdrop(rng, 26.0)
    ]
    return _make_world(rng, seed, timestamps, path, bodies + surroundings, "people walk past")


def _make_walker(rng: np.random.Generator, name: str, elapsed: Array) -> Body:
    """A pedestrian who crosses the view 4 to 15 m ahead, mostly sideways."""
    kind = str(rng.choice(["pedestrian", "pedestrian", "child"]))
    length, width, height = (float(v) for v in np.array(ROAD_USER_TYPES[kind].size) * rng.uniform(0.92, 1.08))
    size = (length, width, height)
    pace, heading = rng.uniform(0.8, 1.8), rng.choice([-1, 1]) * np.pi / 2 + rng.normal(0, 0.25)
    depth = rng.uniform(4, 15)
    half_way = np.array([depth, rng.uniform(-0.35, 0.35) * depth])
    distance_walked = pace * elapsed
    places = half_way + np.outer(distance_walked - distance_walked[-1] / 2, [np.cos(heading), np.sin(heading)])
    coat = CLOTHES[int(rng.integers(len(CLOTHES)))]
    poses = pose(yaw_rotation(np.full(len(elapsed), heading)), np.column_stack([places, np.zeros(len(elapsed))]))
    return Body(
        parts=build_parts(kind, size, coat, rng),
        poses=poses,
        size=size,
        id=name,
        category="object",
        distance_walked=distance_walked,
    )


_BUILDERS: dict[str, Callable[[np.random.Generator, int, Array], World]] = {
    ORBIT: _orbit_world,
    HANDHELD: _handheld_world,
    FALLING: _falling_world,
    WALKERS: _walkers_world,
}
