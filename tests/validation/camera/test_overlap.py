"""Overlapping cameras: a rig along a textured wall, rendered exactly, with right and wrong calibration."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from driveforge.datasets.geometry import FORWARD_CAMERA_TO_EGO, inverse, pixel_rays, pose, yaw_rotation
from driveforge.datasets.nuscenes.source import NuScenesSource
from driveforge.datasets.scene import Camera, Clip, Scene
from driveforge.validation.camera.overlap import overlap_measures
from driveforge.validation.measure_tables.cameras import NO_OVERLAP, ONE_CAMERA
from driveforge.validation.measures import Measures, measure
from driveforge.validation.records import NO_OVERLAP_TEXTURE, NO_POSE, STATIONARY_EGO, Measure
from driveforge.validation.views.view import list_views
from tests.defaults import make_framing
from tests.validation.conftest import REAL_DATA
from tests.validation.street import resized

HEIGHT, WIDTH, NUM_FRAMES = 128, 224, 8
WALL_M = 9.0
INTRINSICS = np.array([[180.0, 0, (WIDTH - 1) / 2], [0, 180.0, (HEIGHT - 1) / 2], [0, 0, 1]])


def camera(name: str, yaw: float, aside: float) -> Camera:
    """A camera at ``yaw`` deg and ``aside`` m to the left; its image is 64 deg wide."""
    mount = pose(yaw_rotation(np.radians(yaw)), [1.0, aside, 1.5]) @ FORWARD_CAMERA_TO_EGO
    return Camera(name=name, width=WIDTH, height=HEIGHT, intrinsics=INTRINSICS, camera_to_ego=mount)


def rig(*, cameras: Sequence[Camera] = (), speed: float = 5.0, seed: int = 0) -> Clip:
    """Two cameras that overlap by about 15 deg and drive along a textured wall to their left, at 10 Hz."""
    scene = Scene(
        clip_id=f"rig-{seed}",
        domain="driving-day",
        timestamps=np.arange(NUM_FRAMES) / 10,
        cameras=tuple(cameras) or (camera("left", 70, 0.3), camera("front", 20, -0.2)),
        ego_to_world=pose(np.eye(3), speed / 10 * np.arange(NUM_FRAMES)[:, None] * [1.0, 0.0, 0.0]),
    )
    noise = np.random.default_rng(seed).normal(0, 1, (1024, 1024)).astype(np.float32)
    wall = sum(cv2.GaussianBlur(noise, (0, 0), sigma) * sigma for sigma in (1.5, 5)) * 60 + 120
    frames = [[draw(wall, scene.camera_to_world(c)[t]) for t in range(NUM_FRAMES)] for c in scene.cameras]
    return Clip(scene=scene, frames=np.array(frames))


def draw(wall: np.ndarray, to_world: np.ndarray) -> np.ndarray:
    """The wall y = ``WALL_M`` with 16 texels per meter; gray for rays that miss it."""
    rays = pixel_rays(INTRINSICS, HEIGHT, WIDTH) @ to_world[:3, :3].T
    depth = (WALL_M - to_world[1, 3]) / np.maximum(rays[..., 1], 1e-3)
    x, z = (to_world[axis, 3] + depth * rays[..., axis] for axis in (0, 2))
    gray = cv2.remap(wall, (16 * x % 1023).astype(np.float32), (16 * z % 1023).astype(np.float32), cv2.INTER_LINEAR)
    gray = np.where((rays[..., 1] > 0) & (depth < 60), gray, 120)
    return np.repeat(np.clip(gray, 0, 255)[..., None], 3, -1).astype(np.uint8)


def turned(clip: Clip, degrees: float) -> Clip:
    """The same pixels with a second camera that is commanded ``degrees`` further to the left."""
    first, second, *others = clip.scene.cameras
    there = pose(np.eye(3), second.camera_to_ego[..., :3, 3])
    turn = there @ pose(yaw_rotation(np.radians(degrees)), np.zeros(3)) @ inverse(there)
    return clip.with_scene(cameras=(first, replace(second, camera_to_ego=turn @ second.camera_to_ego), *others))


def with_second(clip: Clip, frames: np.ndarray) -> Clip:
    return Clip(scene=clip.scene, frames=np.stack([clip.frames[0], frames, *clip.frames[2:]]))


def taken(clip: Clip) -> dict[str, Measure]:
    return {m.name: m for m in overlap_measures(list_views(clip))}


def values(clip: Clip) -> tuple[float, float, float]:
    """The values of the three overlap measures."""
    found = taken(clip)
    unmatched, chance, depth = (found[f"camera_{name}"].value for name in ("unmatched", "chance", "depth"))
    assert unmatched is not None and chance is not None and depth is not None
    return unmatched, chance, depth


@pytest.fixture(scope="module")
def good() -> Clip:
    return rig()


def test_two_views_of_one_wall_match(good: Clip) -> None:
    assert max(values(good)) < 0.1
    assert set(taken(good)) > {"left+front/camera_unmatched", "left+front/camera_chance", "left+front/camera_depth"}


@pytest.mark.parametrize("degrees", [4.0, -4.0])
def test_a_yawed_camera_does_not_match_at_its_depth(degrees: float, good: Clip) -> None:
    assert values(turned(good, degrees))[2] > 0.5


def test_a_pitched_camera_does_not_match_on_the_lines(good: Clip) -> None:
    first, second = good.scene.cameras
    nod = np.eye(4)
    nod[:3, :3] = cv2.Rodrigues(np.radians([4.0, 0.0, 0.0]))[0]
    nodded = good.with_scene(cameras=(first, replace(second, camera_to_ego=second.camera_to_ego @ nod)))
    unmatched, _, depth = values(nodded)
    assert unmatched > 0.3
    assert depth > 0.5


def test_another_place_matches_only_by_chance(good: Clip) -> None:
    unmatched, chance, depth = values(with_second(good, rig(seed=1).frames[1]))
    assert unmatched > 0.3  # with this many depths so close together, some patch matches by chance
    assert depth > 0.5
    assert chance == pytest.approx(0.5, abs=0.15)


def test_an_unsynchronized_camera_is_detected(good: Clip) -> None:
    late = np.concatenate([good.frames[1, :1]] * 3 + [good.frames[1, :-3]])
    assert values(with_second(good, late))[2] > 0.4


def test_the_reasons_why_cameras_are_not_compared(good: Clip) -> None:
    one = rig(cameras=[camera("left", 70, 0.3)])
    opposed = rig(cameras=[camera("left", 70, 0.3), camera("right", -70, -0.3)])
    flat = Clip(scene=good.scene, frames=np.full_like(good.frames, 90))
    stationary_pairs = taken(rig(speed=0.0))
    for name in ("camera_unmatched", "camera_chance", "camera_depth"):
        assert taken(one)[name].reason == ONE_CAMERA
        assert taken(opposed)[name].reason == NO_OVERLAP
        assert taken(flat)[name].reason == NO_OVERLAP_TEXTURE
        assert taken(good.with_scene(ego_to_world=None))[name].reason == NO_POSE
    assert stationary_pairs["camera_depth"].reason == STATIONARY_EGO
    assert stationary_pairs["camera_unmatched"].value == pytest.approx(0.0, abs=0.1)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (16, 16), (160, 20)])
def test_odd_sizes_are_measured_or_refused_but_never_crash(height: int, width: int, good: Clip) -> None:
    cameras = tuple(resized(camera, height, width) for camera in good.scene.cameras)
    noise = np.random.default_rng(0).integers(0, 255, (2, NUM_FRAMES, height, width, 3), np.uint8)
    for m in taken(Clip(scene=replace(good.scene, cameras=cameras), frames=noise)).values():
        assert (m.value is None) == (m.state == "unmeasurable") == bool(m.reason)


def test_overlap_measures_are_among_the_measures_of_the_clip(good: Clip) -> None:
    whole: Measures = measure(good)
    assert whole["camera_depth"] == taken(good)["camera_depth"]
    assert whole["left+front/camera_depth"].family == "cameras"
    assert not any(m.name.startswith("front/camera_") for m in whole.values)


@pytest.mark.real
def test_real_cameras_agree_and_a_yawed_one_does_not() -> None:
    root: Path = REAL_DATA / "nuscenes_format" / "tri_six_cameras"
    if not root.exists():
        pytest.skip("real footage is absent: set DRIVEFORGE_REAL_DATA")
    framing = make_framing(height=256, width=448, num_frames=3, stride=3)
    names = ("CAM_FRONT", "CAM_FRONT_LEFT", "CAM_FRONT_RIGHT", "CAM_BACK_LEFT", "CAM_BACK_RIGHT", "CAM_BACK")
    source = NuScenesSource(root, "v1.0-mini", framing, cameras=names)
    clip = source.load(source.scenes()[0])
    true, off = taken(clip), taken(turned(clip, 4.0))
    pair = "CAM_FRONT+CAM_FRONT_LEFT/"
    for name in ("camera_unmatched", "camera_depth"):
        assert off[pair + name].value > 2 * true[pair + name].value
