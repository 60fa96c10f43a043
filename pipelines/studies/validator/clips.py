"""The good clips of the validator study: simulated drives under many conditions, degraded like recordings."""

from dataclasses import dataclass, replace

import numpy as np

from driveforge.datasets.conditioning.layout import NEAR_M
from driveforge.datasets.domains import WEATHER_VARIANTS, driving_domain
from driveforge.datasets.errors import UserError
from driveforge.datasets.geometry import Array, box_corners, inverse, project
from driveforge.datasets.reframe import reframe_camera
from driveforge.datasets.scene import Camera, Clip, Scene
from driveforge.datasets.simulation.driving import build_driving_world
from driveforge.datasets.simulation.renderer import Renderer
from driveforge.datasets.simulation.rigs import mount_cameras
from driveforge.datasets.simulation.scenarios import SCENARIOS
from driveforge.datasets.simulation.world import Body, World
from driveforge.datasets.simulation.world_to_scene import world_to_scene
from driveforge.validation.degradations.sensor import as_night, as_noisy, sample_degradation
from driveforge.validation.degradations.wear import record

NUM_FRAMES, FRAME_RATE = 24, 10.0
WIDTHS = {256: 448, 128: 224, 96: 160, 64: 112}
# Six of ten clips are ordinary, and one is of each other condition.
CONDITIONS = ("usual",) * 6 + ("night", "noisy", "fast", "stationary")
# Of the rectangle of a box: annotators do not label objects that are less visible.
MIN_VISIBLE_SHARE = 0.2
VISIBILITY_ROWS = 64  # of the image in which visible pixels are counted
_SPEED_UP = 1.7
_MIN_CLEARANCE_M = 6.0


@dataclass(frozen=True, kw_only=True, slots=True)
class GoodClip:
    """The specification of one clip; the clip is a pure function of it."""

    number: int
    rows: int
    seed: int
    cameras: tuple[str, ...] = ("CAM_FRONT",)

    def __post_init__(self) -> None:
        if self.rows not in WIDTHS:
            raise UserError(f"rows: there are no clips of {self.rows} rows; choose from {', '.join(map(str, WIDTHS))}")

    @property
    def condition(self) -> str:
        return CONDITIONS[self.number % len(CONDITIONS)]

    @property
    def variant(self) -> str:
        return WEATHER_VARIANTS[(self.number // len(CONDITIONS)) % len(WEATHER_VARIANTS)]


def make_clip(good: GoodClip) -> Clip:
    """Render the clip under its condition and degrade pixels, poses and boxes as in recordings."""
    rng = np.random.default_rng((good.seed, good.number))
    speed_up = _SPEED_UP if good.condition == "fast" else 1.0
    seconds = np.arange(NUM_FRAMES) / FRAME_RATE
    scenario = SCENARIOS[int(rng.integers(len(SCENARIOS)))]
    world = build_driving_world(good.variant, scenario, int(rng.integers(2**31)), seconds * speed_up)
    if good.condition == "stationary":
        world = _make_stationary(world)
    degradation = sample_degradation(rng)
    if good.condition == "night":
        degradation = as_night(degradation)
    elif good.condition == "noisy":
        degradation = as_noisy(degradation)
    clip = _render_clip(good, world)
    # The world advances by seconds * speed_up, so the original timestamps make the drive faster.
    return record(clip.with_scene(timestamps=seconds), degradation, rng)


def _render_clip(good: GoodClip, world: World) -> Clip:
    cameras = mount_cameras(good.cameras, good.rows, WIDTHS[good.rows])
    name = f"study-{good.condition}-{good.number:05d}"
    scene: Scene = world_to_scene(world, cameras, clip_id=name, domain=driving_domain(good.variant), split="val")
    renderer = Renderer(world)
    frames = np.array([[renderer.render(t, c) for t in range(NUM_FRAMES)] for c in cameras])
    return Clip(scene=as_annotated(scene, renderer), frames=frames)


def as_annotated(scene: Scene, renderer: Renderer) -> Scene:
    """The scene with boxes only in frames in which a camera sees enough of their object, like annotations."""
    shares = np.stack([_visible_shares(scene, camera, renderer) for camera in scene.cameras])
    hidden = (shares < MIN_VISIBLE_SHARE).any(0) & ~(shares >= MIN_VISIBLE_SHARE).any(0)
    tracks = [
        replace(track, present=track.present & ~is_hidden)
        for track, is_hidden in zip(scene.tracks, hidden, strict=True)
    ]
    return replace(scene, tracks=tuple(track for track in tracks if track.present.any()))


def _visible_shares(scene: Scene, camera: Camera, renderer: Renderer) -> Array:
    """Share ``(N, T)`` of a box's rectangle that the body of its track fills in a small image; NaN out of view."""
    small = reframe_camera(camera, VISIBILITY_ROWS, VISIBILITY_ROWS * camera.width // camera.height)
    assert small.intrinsics is not None, "simulated cameras are calibrated"
    pixels = np.stack([renderer.count_body_pixels(t, small) for t in range(scene.num_frames)], 1)
    body_of = {body.id: number for number, body in enumerate(renderer.world.bodies)}
    world_to_camera = inverse(scene.camera_to_world(small))
    shares = np.full((len(scene.tracks), scene.num_frames), np.nan)
    for number, track in enumerate(scene.tracks):
        corners, depth = project(box_corners(world_to_camera @ track.box_to_world, track.size), small.intrinsics)
        inside = np.clip(corners, 0, [small.width, small.height])
        area = np.ptp(inside, axis=1).prod(1)
        in_view = (depth.min(1) > NEAR_M) & (area > 0)
        shares[number, in_view] = pixels[body_of[track.id], in_view] / area[in_view]
    return shares


def _make_stationary(world: World) -> World:
    """The same traffic around an ego that stays at its start, without bodies that would drive through it."""
    path = np.repeat(world.ego_to_world[:1], len(world.timestamps), 0)
    return replace(world, ego_to_world=path, bodies=tuple(b for b in world.bodies if _stays_clear(b, path[0, :2, 3])))


def _stays_clear(body: Body, place: Array) -> bool:
    return bool((np.linalg.norm(body.poses[:, :2, 3] - place, axis=1) > _MIN_CLEARANCE_M).all())
