"""Controllability of generated clips: `python -m tests.benchmarks.quality runs/demo/model --sheet docs/quality.png`.

On held-out simulated scenes: whether static points follow the commanded camera, whether a mirrored command mirrors the
turn, and whether moved boxes move the vehicle. Prints the table of docs/benchmarks.md and writes the contact sheet.
"""

import argparse
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from driveforge.datasets.domains import DRIVING_DOMAINS
from driveforge.datasets.edits import EditNotApplicable, edit_scene
from driveforge.datasets.geometry import BOX_FACES, Array, box_corners, inverse, pose, project, transform
from driveforge.datasets.scene import Clip, Scene
from driveforge.datasets.simulated_source import SimulatedSource
from driveforge.finetune.world_model.sampler_settings import SamplerSettings
from driveforge.pipelines.generate.generator import Generator, load_generator
from driveforge.pipelines.plots.contact_sheet import SheetRow, render_contact_sheet, write_png
from driveforge.validation.measures import recovered_yaw_rate, static_track_residual
from tests.defaults import sampler_settings, simulation_config

# No training, pretraining or demo uses this seed.
HELD_OUT_SEED = 20_000
TURNING_DEG_S = 4.0
# A vehicle counts as moved if it moved 0.5 to 1.5 times as far as commanded.
FOLLOWED = (0.5, 1.5)
MIN_COMMANDED_PX = 6.0
SHIPPED = sampler_settings()


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """``residuals``: (generated, VAE only) px; ``turns``: (as recorded, mirrored) deg/s; ``shifts``: share followed."""

    residuals: list[tuple[float, float]]
    turns: list[tuple[float, float]]
    shifts: list[float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--clips", type=int, default=10, help="of each kind")
    arguments = parser.parse_args()
    generator = load_generator(arguments.model)
    source = SimulatedSource(simulation_config(seed=HELD_OUT_SEED, domains=DRIVING_DOMAINS, num_scenes=40))
    scenes = [source.scenes()[domain * 40 + index] for index in range(40) for domain in range(3)]
    report(
        Figures(
            residuals=static_residuals(generator, source, scenes[: 2 * arguments.clips]),
            turns=mirrored_turns(generator, source, scenes, arguments.clips),
            shifts=moved_boxes(generator, source, scenes, arguments.clips),
        )
    )
    if arguments.sheet:
        write_png(arguments.sheet, render_sheet(generator, source, scenes))


def generate(
    generator: Generator, source: SimulatedSource, scene: Scene, recorded: Scene, settings: SamplerSettings = SHIPPED
) -> Clip:
    first = source.load(recorded).frames[:, :1]
    return generator.generate(scene, first, seed=0, settings=settings)


def static_residuals(
    generator: Generator, source: SimulatedSource, scenes: Sequence[Scene]
) -> list[tuple[float, float]]:
    """Long-gap residuals of static tracks under the commanded pose, generated and through the VAE only."""
    pairs = []
    for scene in track(scenes, "Static tracks"):
        made = static_track_residual(generate(generator, source, scene, scene))
        real = static_track_residual(generator.reconstruct(source.load(scene)))
        if made is not None and real is not None:
            pairs.append((made, real))
    return pairs


def mirrored_turns(
    generator: Generator, source: SimulatedSource, scenes: Sequence[Scene], count: int
) -> list[tuple[float, float]]:
    """Recovered yaw rates under the recorded command and under its mirror image."""
    turning = [scene for scene in scenes if abs(_commanded_yaw_rate(scene)) > TURNING_DEG_S]
    pairs = []
    for scene in track(turning[:count], "Mirrored turns"):
        clips = [generate(generator, source, s, scene) for s in (scene, edit_scene(scene, "mirror-yaw"))]
        rates = [recovered_yaw_rate(_with_straight_command(clip)) for clip in clips]
        pairs.append(tuple(float("nan") if rate is None else rate for rate in rates))
    return pairs  # type: ignore[return-value]


def _commanded_yaw_rate(scene: Scene) -> float:
    assert scene.ego_to_world is not None
    turn = inverse(scene.ego_to_world[0]) @ scene.ego_to_world[-1]
    return float(np.degrees(np.arctan2(turn[1, 0], turn[0, 0])) / (scene.timestamps[-1] - scene.timestamps[0]))


def _with_straight_command(clip: Clip) -> Clip:
    """The clip under a straight command of the same speed, so that the recovered turn is independent of the command."""
    path = clip.scene.ego_to_world
    assert path is not None
    traveled = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path[:, :3, 3], axis=0), axis=1))])
    ahead = pose(np.eye(3), np.stack([traveled, 0 * traveled, 0 * traveled], -1))
    return clip.with_scene(ego_to_world=path[0] @ ahead)


def moved_boxes(
    generator: Generator,
    source: SimulatedSource,
    scenes: Sequence[Scene],
    count: int,
    settings: SamplerSettings = SHIPPED,
) -> list[float]:
    """The share of the commanded image displacement that the vehicle's texture followed, per clip."""
    shares: list[float] = []
    for scene, shifted, vehicle in track(list(_shiftable(source, scenes, count)), "Moved boxes"):
        commanded = _box_places(shifted, vehicle)[-1] - _box_places(scene, vehicle)[-1]
        clips = [generate(generator, source, s, scene, settings) for s in (scene, shifted)]
        ends = [_follow(clip, scene, vehicle) for clip in clips]
        if ends[0] is None or ends[1] is None:
            shares.append(0.0)
            continue
        displacement = ends[1] - ends[0]
        shares.append(float(displacement @ commanded / (commanded @ commanded)))
    return shares


def _shiftable(source: SimulatedSource, scenes: Sequence[Scene], count: int) -> Iterator[tuple[Scene, Scene, str]]:
    """Scenes whose most visible vehicle can be moved aside by enough pixels, the edited scene, and the vehicle.

    Vehicles that cannot be tracked in the recording are skipped.
    """
    found = 0
    for scene in scenes:
        try:
            shifted = edit_scene(scene, "agent-shifts")
        except EditNotApplicable:
            continue
        pairs = zip(scene.tracks, shifted.tracks, strict=True)
        vehicle = next(a.id for a, b in pairs if not np.array_equal(a.box_to_world, b.box_to_world))
        centers = [_box_places(s, vehicle) for s in (scene, shifted)]
        inside = all(((c > 4) & (c < [155, 91])).all() for c in centers)
        far = np.linalg.norm(centers[1][-1] - centers[0][-1]) >= MIN_COMMANDED_PX
        if inside and far and found < count and _follow(source.load(scene), scene, vehicle) is not None:
            found += 1
            yield scene, shifted, vehicle


def _box_places(scene: Scene, vehicle: str) -> Array:
    """Image positions ``(T, 2)`` of the side of a vehicle's box that faces the camera at first; far outside if absent.

    That side has the tracked texture; the center of the box is meters behind it and moves less in the image.
    """
    camera = scene.cameras[0]
    box = next(t for t in scene.tracks if t.id == vehicle)
    corners = box_corners(inverse(scene.camera_to_world(camera)) @ box.box_to_world, box.size)
    sides = corners[:, np.array(BOX_FACES)].mean(2)
    facing = int(np.linalg.norm(sides[0], axis=-1).argmin())
    pixels, depth = project(sides[:, facing], np.asarray(camera.intrinsics))
    return np.where((box.present & (depth > 1))[:, None], pixels, -1e3)


def _follow(clip: Clip, recorded: Scene, vehicle: str) -> Array | None:
    """The last position ``(2,)`` of the vehicle's first-frame texture, by Lucas-Kanade without using the boxes."""
    gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in clip.frames[0]]
    box = next(t for t in recorded.tracks if t.id == vehicle)
    camera = recorded.cameras[0]
    depth = float(transform(inverse(recorded.camera_to_world(camera)[0]), box.box_to_world[0, None, :3, 3])[0, 2])
    reach = 0.35 * float(np.asarray(camera.intrinsics)[0, 0]) * np.array([box.size[1], box.size[2]]) / depth
    center = _box_places(recorded, vehicle)[0]
    x, y = np.meshgrid(*(np.linspace(center[k] - reach[k], center[k] + reach[k], 6) for k in (0, 1)))
    points = start = np.stack([x.ravel(), y.ravel()], -1).astype(np.float32)[:, None]
    alive = np.ones(len(points), bool)
    options = {"winSize": (11, 11), "maxLevel": 3}
    for before, after in itertools.pairwise(gray):
        moved, forward, _ = cv2.calcOpticalFlowPyrLK(before, after, points, None, **options)
        back, backward, _ = cv2.calcOpticalFlowPyrLK(after, before, moved, None, **options)
        agrees = np.linalg.norm(back - points, axis=-1)[:, 0] < 0.7
        alive &= (forward[:, 0] > 0) & (backward[:, 0] > 0) & agrees
        points = moved
    if alive.sum() < 4:
        return None
    return np.asarray(center + np.median((points - start)[alive, 0], axis=0), np.float64)


def report(figures: Figures) -> None:
    made, real = np.median(np.array(figures.residuals), axis=0)
    flips = sum(a * b < 0 for a, b in figures.turns)
    followed = sum(FOLLOWED[0] <= share <= FOLLOWED[1] for share in figures.shifts)
    print("| held-out simulated scenes | figure |\n| --- | --- |")
    print(f"| static-track residual, generated, median of {len(figures.residuals)} clips | {made:.2f} px |")
    print(f"| the same clips through the VAE only | {real:.2f} px |")
    print(f"| ratio | {made / real:.2f} |")
    print(f"| turns whose recovered yaw rate changes sign with the command | {flips} of {len(figures.turns)} |")
    print(f"| vehicles that follow a moved box | {followed} of {len(figures.shifts)} |")
    print("\nyaw rates, deg/s:", ", ".join(f"{a:+.1f}/{b:+.1f}" for a, b in figures.turns))
    print("share of the commanded displacement:", ", ".join(f"{share:.2f}" for share in figures.shifts))


def render_sheet(generator: Generator, source: SimulatedSource, scenes: Sequence[Scene]) -> NDArray[np.uint8]:
    """A sheet of recorded and generated clips, then clips of the same first frame under different commands."""
    rows = []
    for scene in scenes[:3]:
        rows.append(SheetRow(caption=f"recorded: {scene.caption}", frames=source.load(scene).frames[0]))
        rows.append(
            SheetRow(
                caption="generated from its first frame", frames=generate(generator, source, scene, scene).frames[0]
            )
        )
    turning = next(s for s in scenes if abs(_commanded_yaw_rate(s)) > 2 * TURNING_DEG_S)
    shifting = next(_shiftable(source, scenes, 1))
    for name, recorded, scene in (
        ("turn as recorded", turning, turning),
        ("turn mirrored", turning, edit_scene(turning, "mirror-yaw")),
        ("vehicle as recorded", shifting[0], shifting[0]),
        ("vehicle commanded to move aside", shifting[0], shifting[1]),
    ):
        rows.append(
            SheetRow(caption=f"generated: {name}", frames=generate(generator, source, scene, recorded).frames[0])
        )
    return render_contact_sheet(rows, columns=2)


if __name__ == "__main__":
    main()
