"""The renderer: projection, occlusion, lighting and reproducibility."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from driveforge.datasets.geometry import Array, box_corners, inverse, pose, project, transform, yaw_rotation
from driveforge.datasets.scene import Camera
from driveforge.datasets.simulation.mesh import CUBOID_FACES, Part, box, translation
from driveforge.datasets.simulation.renderer import Renderer
from driveforge.datasets.simulation.rigs import mount_cameras
from driveforge.datasets.simulation.weather import sample_weather
from driveforge.datasets.simulation.world import Band, Body, Ground, World

CAMERA = mount_cameras(("CAM_FRONT",), 96, 160)[0]
RED, GREEN = (1.0, 0.02, 0.02), (0.02, 1.0, 0.02)


def _box_at(x: float, y: float, yaw: float, size: tuple[float, float, float], tint: tuple[float, float, float]) -> Body:
    part = Part(vertices=box(size), faces=CUBOID_FACES, textures=("paint",) * 6, tint=tint)
    return Body(parts=(part,), poses=pose(yaw_rotation(yaw), [x, y, 0.0])[None], size=size, casts_shadow=False)


def _world(*bodies: Body, variant: str = "day") -> World:
    weather = replace(sample_weather(variant, np.random.default_rng(0)), haze_m=1e6)
    ground = Ground(
        coordinates=np.zeros((2, 2, 2), np.float32),
        origin=(0.0, 0.0),
        cell=1.0,
        bands=(Band(edge=1e9, texture="asphalt", tile=9.0),),
    )
    poses = np.stack([pose(yaw_rotation(0.02 * t), [0.3 * t, 0, 0]) for t in range(4)])
    return World(
        timestamps=np.arange(4) / 10,
        ego_to_world=poses,
        bodies=bodies,
        ground=ground,
        weather=weather,
        caption="",
        seed=3,
    )


def _hull(world: World, body: Body, t: int, camera: Camera) -> tuple[Array, Array]:
    """Masks ``(H, W)`` of pixels that are fully inside and fully outside the projected hull of the body."""
    box_to_world = body.poses[0] @ translation(0, 0, body.size[2] / 2)
    world_to_camera = inverse(world.ego_to_world[t] @ camera.camera_to_ego)
    corners, depth = project(
        transform(world_to_camera, box_corners(box_to_world, np.array(body.size))), np.asarray(camera.intrinsics)
    )
    assert (depth > 0).all()
    fine = np.zeros((camera.height * 8, camera.width * 8), np.uint8)
    hull = cv2.convexHull(np.rint((corners + 0.5) * 8 - 0.5).astype(np.int32))
    cv2.fillConvexPoly(fine, hull, 1)
    cover = cv2.resize(fine.astype(np.float32), (camera.width, camera.height), interpolation=cv2.INTER_AREA)
    return cover > 0.999, cover < 0.001


@pytest.mark.parametrize("yaw", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("t", [0, 3])
def test_a_box_covers_exactly_its_projected_hull(yaw: float, t: int) -> None:
    body = _box_at(12.0, 1.5, yaw, (4.0, 2.0, 1.5), RED)
    world = _world(body)
    image = Renderer(world).render(t, CAMERA).astype(int)
    red = (image[..., 0] > 2 * image[..., 1]) & (image[..., 0] > 30)
    inside, outside = _hull(world, body, t, CAMERA)
    assert inside.sum() > 50
    assert red[inside].mean() > 0.995
    assert red[outside].mean() < 0.001


def test_the_nearer_box_hides_the_farther_one() -> None:
    near, far = _box_at(9, 0, 0, (2, 2, 1.5), RED), _box_at(16, 0, 0, (2, 2, 1.5), GREEN)
    for bodies in ((near, far), (far, near)):
        image = Renderer(_world(*bodies)).render(0, CAMERA).astype(int)
        assert ((image[..., 0] > 2 * image[..., 1]) & (image[..., 0] > 30)).sum() > 200
        assert ((image[..., 1] > 2 * image[..., 0]) & (image[..., 1] > 30)).sum() < 60


def test_a_box_is_clipped_at_the_near_plane() -> None:
    image = Renderer(_world(_box_at(1.0, 2.2, 0.0, (8, 2, 2), RED))).render(0, CAMERA).astype(int)
    red = (image[..., 0] > 2 * image[..., 1]) & (image[..., 0] > 30)
    assert red[:, :60].mean() > 0.25 and red[:, 110:].sum() == 0


def test_depth_is_that_of_ground_and_boxes() -> None:
    renderer = Renderer(_world(_box_at(12, 0, 0, (2, 6, 3), RED)))
    depth = renderer.depth(0, CAMERA)
    assert np.isinf(depth[5]).all(), "the depth of the sky is infinite"
    assert depth[48, 80] == pytest.approx(12 - 1 - 1.7, abs=0.02)
    focal = CAMERA.intrinsics[0, 0]  # type: ignore[index]
    assert depth[90, 20] == pytest.approx(focal * 1.51 / (90 - 47.5), rel=0.01)


def test_rendering_is_repeatable_and_has_no_side_effects() -> None:
    renderer = Renderer(_world(_box_at(10, 0, 0, (4, 2, 1.5), RED), variant="rain"))
    first = renderer.render(1, CAMERA)
    renderer.render(2, CAMERA)
    np.testing.assert_array_equal(renderer.render(1, CAMERA), first)


def test_brake_lights_glow_when_the_body_brakes() -> None:
    light = Part(vertices=box((0.2, 2.0, 1.0)), faces=CUBOID_FACES, textures=("taillight",) * 6, is_brake_light=True)
    body = Body(
        parts=(light,),
        poses=pose(np.eye(3), [8.0, 0, 0.5])[None],
        size=(0.2, 2, 1),
        braking=np.array([False, True, True, True]),
    )
    dark, lit = (Renderer(_world(body)).render(t, CAMERA)[50:56, 70:90, 0].mean() for t in (0, 1))
    assert lit > dark + 60


def test_distant_ground_does_not_flicker() -> None:
    """A camera motion of a fraction of a texel changes the ground only slightly."""
    world = _world(_box_at(60, 20, 0, (2, 2, 2), RED))
    poses = np.stack([pose(np.eye(3), [0.004 * t, 0, 0]) for t in range(4)])
    renderer = Renderer(replace(world, ego_to_world=poses))
    frames = np.stack([renderer.render(t, CAMERA) for t in range(4)]).astype(float)
    assert np.abs(np.diff(frames[:, 50:], axis=0)).mean() < 1.0


def test_only_visible_pixels_of_a_body_are_counted() -> None:
    far, near = _box_at(14, 0, 0.4, (4.0, 1.8, 1.5), RED), _box_at(8, 0, 0.0, (0.5, 6.0, 3.0), GREEN)
    adjacent = _box_at(8, 9, 0.0, (0.5, 2.0, 3.0), GREEN)
    count = Renderer(_world(far)).count_body_pixels(0, CAMERA)[0]
    inner, outer = _hull(_world(far), far, 0, CAMERA)
    assert inner.sum() <= count <= (~outer).sum()
    assert Renderer(_world(far, adjacent)).count_body_pixels(0, CAMERA)[0] == count
    assert Renderer(_world(far, near)).count_body_pixels(0, CAMERA)[0] == 0
