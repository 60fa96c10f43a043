"""Depth and instance masks agree with boxes and cameras, also after an edit."""

from dataclasses import replace

import numpy as np
import pytest

from driveforge.datasets.edits import edit_scene
from driveforge.datasets.errors import UserError
from driveforge.datasets.geometry import inverse, transform
from driveforge.datasets.scene import Scene
from driveforge.datasets.simulated_source import SimulatedSource, simulated_scene
from driveforge.datasets.simulation.depth_and_instances import DepthAndInstances
from tests.defaults import simulation_config

CONFIG = simulation_config(domains=("driving-day",), num_scenes=12, num_frames=6, height=64, width=112)
SOURCE = SimulatedSource(CONFIG)
SCENES = list(SOURCE.scenes())


def _points(rendered: DepthAndInstances, scene: Scene, track: int, t: int) -> np.ndarray:
    """World points ``(N, 3)`` of the pixels of a track, from their depth."""
    camera = scene.cameras[0]
    rows, columns = np.nonzero(rendered.instances[0, t] == track + 1)
    depth = rendered.depth[0, t, rows, columns] / 100
    pixels = np.stack([columns, rows, np.ones(len(rows))], 1)
    in_camera = (pixels @ np.linalg.inv(camera.intrinsics).T) * depth[:, None]
    return transform(scene.ego_to_world[t] @ camera.camera_to_ego, in_camera)


@pytest.mark.parametrize("edit", ["as-recorded", "slower", "shift-left", "agent-shifts", "agent-brakes", "dusk"])
def test_pixels_of_a_track_lie_in_its_box(edit: str) -> None:
    num_pixels = 0
    for recorded in SCENES:
        try:
            scene = edit_scene(recorded, edit)
        except UserError:
            continue
        rendered = SOURCE.depth_and_instances(scene)
        for number, track in enumerate(scene.tracks):
            for t in (0, scene.num_frames - 1):
                if not track.present[t] or track.category.startswith("human"):
                    continue  # limbs swing out of the box
                points = transform(inverse(track.box_to_world[t]), _points(rendered, scene, number, t))
                # A centimeter of rounding; mirrors stand out.
                assert (np.abs(points) <= track.size / 2 + 0.35).all(), (scene.clip_id, track.id, t)
                num_pixels += len(points)
    assert num_pixels > 300


def test_depth_of_the_ground_is_that_of_its_plane() -> None:
    scene = SCENES[0]
    rendered = SOURCE.depth_and_instances(scene)
    row = CONFIG.height - 1
    depth = rendered.depth[0, 0, row, CONFIG.width // 2] / 100
    camera = scene.cameras[0]
    ray = np.linalg.inv(camera.intrinsics) @ [CONFIG.width // 2, row, 1.0]
    point = transform(scene.ego_to_world[0] @ camera.camera_to_ego, (ray * depth)[None])[0]
    assert abs(point[2]) < 0.02 and rendered.instances[0, 0, row, CONFIG.width // 2] == 0
    assert (rendered.depth[0, :, 0] == 0).any(), "there is sky above"


def test_a_removed_vehicle_is_gone_and_an_inserted_one_is_a_box() -> None:
    def num_pixels(scene: Scene) -> list[int]:
        seen = SOURCE.depth_and_instances(scene).instances[0, 0]
        return [int((seen == number).sum()) for number in range(1, len(scene.tracks) + 1)]

    scene = max(SCENES, key=lambda scene: max(num_pixels(scene), default=0))
    number = int(np.argmax(num_pixels(scene)))
    track = scene.tracks[number]
    without = replace(scene, tracks=tuple(other for other in scene.tracks if other is not track))
    assert max(num_pixels(scene)) > 20
    hidden = SOURCE.depth_and_instances(without).instances[0, 0]
    assert (hidden[SOURCE.depth_and_instances(scene).instances[0, 0] == number + 1] != number + 1).any()
    inserted = replace(without, tracks=(*without.tracks, replace(track, id="inserted")))
    assert num_pixels(inserted)[-1] > 20


def test_a_scene_of_another_simulation_is_refused() -> None:
    other = simulated_scene(replace(CONFIG, seed=7), "driving-day", 3)
    assert not SOURCE.has_world_of(other) and SOURCE.has_world_of(edit_scene(SCENES[3], "dusk"))
    with pytest.raises(UserError, match="another scene in this simulation"):
        SOURCE.depth_and_instances(other)
