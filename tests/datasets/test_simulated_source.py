"""The simulated source: scenes, clips and their content."""

import hashlib
import subprocess
import sys
from collections import Counter
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from driveforge.datasets.domains import ALL_DOMAINS, DRIVING_DOMAINS
from driveforge.datasets.errors import UserError
from driveforge.datasets.geometry import Array, inverse, pixel_rays, project, transform, yaw_from_pose
from driveforge.datasets.scene import Camera, Clip, Scene
from driveforge.datasets.simulated_source import SimulatedSource, SimulationConfig, simulate_world, simulated_scene
from driveforge.datasets.simulation.collision import footprint, is_overlapping
from driveforge.datasets.simulation.renderer import Renderer
from tests.defaults import simulation_config

SMALL = simulation_config(num_scenes=40, num_frames=9)


@lru_cache(maxsize=8)
def _clip(domain: str, index: int) -> Clip:
    return SimulatedSource(SMALL).load(simulated_scene(SMALL, domain, index))


@lru_cache
def _driving_scenes() -> tuple[Scene, ...]:
    config = simulation_config(num_scenes=40, domains=("driving-day",))
    return tuple(SimulatedSource(config).scenes())


def test_scenes_are_listed_domain_by_domain() -> None:
    source = SimulatedSource(simulation_config(num_scenes=2, domains=("orbit", "walkers")))
    names = [scene.clip_id for scene in source.scenes()]
    assert names == ["sim-orbit-000000", "sim-orbit-000001", "sim-walkers-000000", "sim-walkers-000001"]
    assert len(source) == len(source.scenes()) == 4
    assert source.scenes()[-1].clip_id == names[-1]


@pytest.mark.parametrize("domain", ALL_DOMAINS)
def test_every_domain_renders_moving_images(domain: str) -> None:
    clip = _clip(domain, 1)
    frames = clip.frames[0].astype(float)
    assert clip.scene.domain == domain and clip.scene.tracks
    assert frames.std() > 15, "images have contrast"
    changed = (np.abs(np.diff(frames, axis=0)).max(-1) > 12).mean()
    assert changed > 0.001, "something moves"


def test_a_fresh_process_makes_the_same_bytes() -> None:
    program = (
        "import hashlib; from driveforge.datasets.simulated_source import *;"
        "from tests.defaults import simulation_config;"
        "c = simulation_config(num_scenes=40, num_frames=9); s = SimulatedSource(c);"
        "print(hashlib.sha256(s.load(simulated_scene(c, 'driving-rain', 2)).frames.tobytes()).hexdigest())"
    )
    root = Path(__file__).parents[2]
    fresh = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    here = hashlib.sha256(_clip("driving-rain", 2).frames.tobytes()).hexdigest()
    assert fresh.stdout.strip() == here
    assert fresh.stderr == "", "importing the traffic library prints nothing"


def test_the_image_size_does_not_change_the_scene() -> None:
    large = simulated_scene(simulation_config(num_scenes=40, num_frames=9, height=256, width=448), "driving-day", 3)
    small = simulated_scene(SMALL, "driving-day", 3)
    np.testing.assert_array_equal(large.ego_to_world, small.ego_to_world)
    assert [t.id for t in large.tracks] == [t.id for t in small.tracks]


def test_seeds_and_indices_differ() -> None:
    other = simulation_config(seed=1, num_scenes=40, num_frames=9)
    poses = [simulated_scene(c, "driving-day", i).ego_to_world for c, i in ((SMALL, 0), (SMALL, 8), (other, 0))]
    assert not np.allclose(poses[0], poses[1]) and not np.allclose(poses[0], poses[2])


def test_every_fifth_scene_is_in_the_validation_split() -> None:
    splits = [simulated_scene(SMALL, "orbit", i).split for i in range(10)]
    assert splits == (["train"] * 4 + ["val"]) * 2


def test_day_dusk_and_rain_look_different() -> None:
    brightness = {d: np.mean([_clip(d, i).frames.mean() for i in (0, 2)]) for d in DRIVING_DOMAINS}
    assert brightness["driving-dusk"] < 0.85 * brightness["driving-rain"]
    assert brightness["driving-rain"] < 0.9 * brightness["driving-day"]


def test_scenarios_all_occur_and_turns_are_common() -> None:
    scenes = _driving_scenes()
    events = Counter(scene.caption.split(", ")[2] for scene in scenes)
    assert len(events) == 8 and min(events.values()) == 5
    rates = np.array([np.degrees(np.ptp(np.unwrap(yaw_from_pose(s.ego_to_world)))) / 1.6 for s in scenes])  # type: ignore[arg-type]
    assert ((rates > 4) & (rates < 21)).mean() >= 0.4
    roads = Counter(scene.caption.split(", ")[1] for scene in scenes)
    assert min(roads["curved road left"], roads["curved road right"]) >= 5


def test_captions_name_the_side_of_the_turn() -> None:
    for scene in _driving_scenes():
        turned = np.degrees(np.unwrap(yaw_from_pose(scene.ego_to_world))[[0, -1]] @ [-1, 1])  # type: ignore[arg-type]
        if "curved road left" in scene.caption:
            assert turned > 1, scene.caption
        if "curved road right" in scene.caption:
            assert turned < -1, scene.caption


def test_the_ego_drives_smoothly_at_urban_speeds() -> None:
    for scene in _driving_scenes():
        steps = np.linalg.norm(np.diff(scene.ego_to_world[:, :2, 3], axis=0), axis=1)  # type: ignore[index]
        assert 2.9 < steps.mean() * 10 < 19, scene.clip_id
        assert np.abs(np.diff(steps)).max() * 100 < 9, f"{scene.clip_id}: the acceleration is too high for a car"


def test_most_clips_show_a_vehicle_ahead() -> None:
    scenes = _driving_scenes()
    assert np.mean([_has_vehicle_ahead(scene) for scene in scenes]) > 0.7


def _has_vehicle_ahead(scene: Scene) -> bool:
    camera = scene.cameras[0]
    world_to_camera = inverse(scene.camera_to_world(camera))
    for track in scene.tracks:
        centers = np.einsum("tij,tj->ti", world_to_camera, track.box_to_world[:, :, 3])[:, :3]
        pixels, depth = project(centers, np.asarray(camera.intrinsics))
        seen = (depth > 6) & (depth < 30) & (pixels[:, 0] > 0) & (pixels[:, 0] < camera.width)
        if track.category.startswith("vehicle") and seen.mean() > 0.5:
            return True
    return False


def test_nothing_overlaps_or_jumps() -> None:
    for scene in _driving_scenes():
        for t in (0, 8, 16):
            shapes = [_shape(track.box_to_world[t], track.size) for track in scene.tracks if track.present[t]]
            ego = _shape(scene.ego_to_world[t], np.array([4.6, 1.9, 1.6]), ahead=1.35)  # type: ignore[index]
            shapes.append(ego)
            pairs = [(i, j) for i in range(len(shapes)) for j in range(i) if is_overlapping(shapes[i], shapes[j], 0.0)]
            assert not pairs, f"{scene.clip_id} frame {t}: {pairs}"
        for track in scene.tracks:
            assert np.linalg.norm(np.diff(track.box_to_world[:, :3, 3], axis=0), axis=1).max() < 2.5, track.id


def _shape(box: Array, size: Array, ahead: float = 0.0) -> Array:
    center = box[:2, 3] + ahead * box[:2, 0]
    return footprint(float(center[0]), float(center[1]), float(yaw_from_pose(box)), float(size[0]), float(size[1]))


def test_lanes_and_present_tracks_are_near_the_path() -> None:
    for scene in _driving_scenes()[:10]:
        kinds = {lane.kind for lane in scene.lanes}
        assert "boundary" in kinds
        start = scene.ego_to_world[0, :3, 3]  # type: ignore[index]
        assert min(np.linalg.norm(lane.points - start, axis=1).min() for lane in scene.lanes) < 12
        for track in scene.tracks:
            distance = np.linalg.norm(track.box_to_world[:, :3, 3] - scene.ego_to_world[:, :3, 3], axis=1)  # type: ignore[index]
            np.testing.assert_array_equal(track.present, distance < 80)


@pytest.mark.parametrize("index", [1, 4])
def test_static_points_move_with_the_camera_pose(index: int) -> None:
    """Lucas-Kanade tracks match the flow predicted from the camera pose and true depth."""
    config = simulation_config(
        num_scenes=8, num_frames=3, height=256, width=448, domains=("driving-day",), frame_rate=20
    )
    assert np.median(_track_errors(config, index)) < 0.5


def _track_errors(config: SimulationConfig, index: int) -> Array:

    scene = simulated_scene(config, "driving-day", index)
    camera = scene.cameras[0]
    renderer = Renderer(simulate_world(config, "driving-day", index))
    frames = [cv2.cvtColor(renderer.render(t, camera), cv2.COLOR_RGB2GRAY) for t in (0, 1)]
    points = _world_points(scene, camera, renderer.depth(0, camera))
    still = np.isfinite(points).all(-1) & (np.linalg.norm(points - points[-1, 0], axis=-1) < 60)
    for track in scene.tracks:
        inside = np.abs(transform(inverse(track.box_to_world[0]), np.nan_to_num(points, posinf=1e6, neginf=-1e6)))
        still &= ~(inside < track.size / 2 + 0.4).all(-1)
    mask = cv2.erode(still.astype(np.uint8), np.ones((7, 7)))
    corners = cv2.goodFeaturesToTrack(frames[0], 200, 0.01, 6, mask=mask)
    moved, found, _ = cv2.calcOpticalFlowPyrLK(frames[0], frames[1], corners, None, winSize=(15, 15))
    start, end = corners[found == 1].reshape(-1, 2), moved[found == 1].reshape(-1, 2)
    at = np.rint(start).astype(int)
    world_to_camera = inverse(scene.camera_to_world(camera)[1])
    predicted, _ = project(transform(world_to_camera, points[at[:, 1], at[:, 0]]), np.asarray(camera.intrinsics))
    inside = ((predicted > 5) & (predicted < [camera.width - 5, camera.height - 5])).all(1)
    assert inside.sum() > 40, "there are enough points to track"
    return np.asarray(np.linalg.norm(predicted - end, axis=1)[inside])


def _world_points(scene: Scene, camera: Camera, depth: Array) -> Array:
    camera_to_world = scene.camera_to_world(camera)[0]
    rays = pixel_rays(np.asarray(camera.intrinsics), camera.height, camera.width)
    with np.errstate(invalid="ignore"):
        return np.asarray(camera_to_world[:3, 3] + depth[..., None] * (rays @ camera_to_world[:3, :3].T))


def test_cameras_of_the_rig_face_their_directions() -> None:
    cameras = ("CAM_FRONT", "CAM_BACK", "CAM_FRONT_LEFT")
    config = simulation_config(num_scenes=1, num_frames=2, domains=("driving-day",), cameras=cameras)
    clip = SimulatedSource(config).load(simulated_scene(config, "driving-day", 0))
    assert clip.frames.shape == (3, 2, 96, 160, 3)
    front, back, left = (c.camera_to_ego[:3, 2] for c in clip.scene.cameras)  # type: ignore[index]
    np.testing.assert_allclose(front, [1, 0, 0], atol=1e-9)
    np.testing.assert_allclose(back, [-1, 0, 0], atol=1e-9)
    assert left[1] > 0.7, "the left camera faces left"


def test_varied_cameras_differ_in_calibration_but_not_in_the_scene() -> None:
    varied = simulation_config(num_scenes=40, num_frames=9, varied_cameras=True)
    first, second = (simulated_scene(varied, "driving-day", i).cameras[0] for i in (0, 1))
    assert first.intrinsics[0, 0] != second.intrinsics[0, 0]  # type: ignore[index]
    assert 75 < first.intrinsics[0, 0] < 165  # type: ignore[index]
    plain = simulated_scene(SMALL, "driving-day", 0)
    np.testing.assert_array_equal(simulated_scene(varied, "driving-day", 0).ego_to_world, plain.ego_to_world)
    for camera in (first, second):
        heading = camera.camera_to_ego[:3, 2]  # type: ignore[index]
        assert heading[0] > 0.99, "it still faces forward"


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"domains": ("moon",)}, "moon"), ({"num_frames": 1}, "2 frames"), ({"height": 0}, "positive")],
)
def test_invalid_settings_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        simulation_config(**changes)


def test_unknown_cameras_and_clips_are_refused() -> None:
    with pytest.raises(UserError, match="CAM_TOP"):
        simulated_scene(simulation_config(cameras=("CAM_TOP",), num_frames=2), "driving-day", 0)
    orbiting = SimulatedSource(simulation_config(domains=("orbit",)))
    with pytest.raises(UserError, match="not a clip of this simulation"):
        orbiting.load(_clip("walkers", 1).scene)
