"""The good clips of the validator study: simulated drives under many conditions, worn as recordings are."""

from dataclasses import dataclass, replace

import numpy as np

from datasets.errors import UserError
from datasets.geometry import Array
from datasets.scene import Clip, Scene
from datasets.simulation.driving import driving_world
from datasets.simulation.renderer import Stage
from datasets.simulation.rigs import mount_cameras
from datasets.simulation.scenarios import SCENARIOS
from datasets.simulation.scene_of import scene_of
from datasets.simulation.weathers import VARIANTS
from datasets.simulation.world import Body, World
from validation.wear import at_night, draw_wear, noisy, worn

NUM_FRAMES, FRAME_RATE = 24, 10.0
WIDTHS = {256: 448, 128: 224, 64: 112}
# Of every ten clips: six ordinary ones, and one of each other condition.
CONDITIONS = ("usual",) * 6 + ("night", "noisy", "fast", "stationary")
_FASTER = 1.7
_PERSONAL_SPACE_M = 6.0


@dataclass(frozen=True, kw_only=True, slots=True)
class GoodClip:
    """One clip of the study by number: a pure function of these."""

    number: int
    rows: int
    seed: int
    cameras: tuple[str, ...] = ("CAM_FRONT",)

    def __post_init__(self) -> None:
        if self.rows not in WIDTHS:
            raise UserError(
                f"study.rows: clips of {self.rows} rows are not made; choose from {', '.join(map(str, WIDTHS))}"
            )

    @property
    def condition(self) -> str:
        return CONDITIONS[self.number % len(CONDITIONS)]

    @property
    def variant(self) -> str:
        return VARIANTS[(self.number // len(CONDITIONS)) % len(VARIANTS)]


def make(good: GoodClip) -> Clip:
    """The clip, worn: rendered under its condition, with the errors that commands and boxes have in practice."""
    rng = np.random.default_rng((good.seed, good.number))
    faster = _FASTER if good.condition == "fast" else 1.0
    seconds = np.arange(NUM_FRAMES) / FRAME_RATE
    scenario = SCENARIOS[int(rng.integers(len(SCENARIOS)))]
    world = driving_world(good.variant, scenario, int(rng.integers(2**31)), seconds * faster)
    if good.condition == "stationary":
        world = _standing(world)
    wear = draw_wear(rng)
    wear = at_night(wear) if good.condition == "night" else noisy(wear) if good.condition == "noisy" else wear
    clip = _film(good, world)
    # Seen at another pace, the same frames show a drive as many times faster.
    return worn(clip.with_scene(timestamps=seconds), wear, int(rng.integers(2**31)))


def _film(good: GoodClip, world: World) -> Clip:
    cameras = mount_cameras(good.cameras, good.rows, WIDTHS[good.rows])
    name = f"study-{good.condition}-{good.number:05d}"
    scene: Scene = scene_of(world, cameras, clip_id=name, domain=f"driving-{good.variant}", split="val")
    stage = Stage(world)
    return Clip(scene=scene, frames=np.array([[stage.draw(t, c) for t in range(NUM_FRAMES)] for c in cameras]))


def _standing(world: World) -> World:
    """The same traffic, watched by an ego that stands where it began; whoever would drive through it is not there."""
    path = np.repeat(world.ego_to_world[:1], len(world.timestamps), 0)
    return replace(world, ego_to_world=path, bodies=tuple(b for b in world.bodies if _keeps_away(b, path[0, :2, 3])))


def _keeps_away(body: Body, place: Array) -> bool:
    return bool((np.linalg.norm(body.poses[:, :2, 3] - place, axis=1) > _PERSONAL_SPACE_M).all())
