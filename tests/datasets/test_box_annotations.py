from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driveforge.datasets.box_annotations import annotate_boxes, project_to_image
from driveforge.datasets.geometry import FORWARD_CAMERA_TO_EGO, Array, inverse, pose, project, transform, yaw_rotation
from driveforge.datasets.scene import Camera, Scene, Track
from tests.datasets.small_clips import bare_clip, small_scene

CAMERA = Camera(
    name="CAM_FRONT",
    width=160,
    height=96,
    intrinsics=np.array([[100.0, 0, 79.5], [0, 100.0, 47.5], [0, 0, 1]]),
    camera_to_ego=FORWARD_CAMERA_TO_EGO,
)
LOW, HIGH = np.array([-0.5, -0.5]), np.array([159.5, 95.5])


def scene_with(*tracks: Track, num_frames: int = 3, speed: float = 0.0, camera: Camera = CAMERA) -> Scene:
    """An ego vehicle that drives along world x at ``speed`` m/s; ten frames a second."""
    return Scene(
        clip_id="boxes",
        domain="driving-day",
        timestamps=np.arange(num_frames) / 10,
        cameras=(camera,),
        ego_to_world=pose(np.eye(3), speed * np.arange(num_frames)[:, None] / 10 * [1.0, 0, 0]),
        tracks=tracks,
    )


def box(
    name: str, center: tuple[float, float, float], *, velocity: float = 0.0, size: Array | None = None, **fields: object
) -> Track:
    """A box of 4 x 2 x 1.5 m that moves along world x at ``velocity`` m/s over three frames."""
    centers = np.array(center) + velocity * np.arange(3)[:, None] / 10 * [1.0, 0, 0]
    return Track(
        **{
            "id": name,
            "category": "vehicle.car",
            "size": np.array([4.0, 2.0, 1.5]) if size is None else size,
            "box_to_world": pose(np.eye(3), centers),
            "present": np.ones(3, bool),
            **fields,
        }  # type: ignore[arg-type]
    )


def test_a_box_inside_the_image_is_bounded_by_its_corners() -> None:
    found = annotate_boxes(scene_with(box("a", (20.0, 0.0, 0.0))))
    # The near face is 18 m away: 2 m wide and 1.5 m high.
    np.testing.assert_allclose(
        found.boxes_2d[0, 0, 0], [79.5 - 100 / 18, 47.5 - 75 / 18, 79.5 + 100 / 18, 47.5 + 75 / 18], atol=1e-4
    )
    assert not found.cut_sides.any()
    assert found.visible_share[0, 0, 0] == 1 and found.occluded_share[0, 0, 0] == 0


@pytest.mark.parametrize(
    ("center", "sides"),
    [
        ((10.0, 8.0, 0.0), [True, False, False, False]),
        ((10.0, 0.0, 5.0), [False, True, False, False]),
        ((10.0, -8.0, 0.0), [False, False, True, False]),
        ((10.0, 0.0, -5.0), [False, False, False, True]),
        ((2.05, 0.0, 0.0), [True, True, True, True]),
    ],
    ids=["left", "top", "right", "bottom", "all"],
)
def test_the_sides_that_the_image_edge_cuts_are_told(center: tuple[float, float, float], sides: list[bool]) -> None:
    found = annotate_boxes(scene_with(box("a", center)))
    assert found.cut_sides[0, 0, 0].tolist() == sides
    edges = [-0.5, -0.5, 159.5, 95.5]
    assert [bool(value == edge) for value, edge in zip(found.boxes_2d[0, 0, 0], edges, strict=True)] == sides


@pytest.mark.parametrize("center", [(-20.0, 0.0, 0.0), (10.0, 40.0, 0.0)], ids=["behind", "beside"])
def test_a_box_out_of_the_image_has_no_2d_box(center: tuple[float, float, float]) -> None:
    found = annotate_boxes(scene_with(box("a", center)))
    assert not found.boxes_2d.any() and not found.cut_sides.any() and not found.visible_share.any()


def test_a_car_around_the_camera_fills_the_image() -> None:
    found = annotate_boxes(scene_with(box("a", (1.0, 0.0, 0.0), size=np.array([8.0, 4.0, 3.0]))))
    assert found.boxes_2d[0, 0, 0].tolist() == [-0.5, -0.5, 159.5, 95.5]


@settings(deadline=None, max_examples=60)
@given(
    center=st.tuples(st.floats(1, 40), st.floats(-15, 15), st.floats(-4, 4)),
    yaw=st.floats(-np.pi, np.pi),
    size=st.tuples(st.floats(0.3, 12), st.floats(0.3, 3), st.floats(0.3, 4)),
)
def test_the_2d_box_is_the_extent_of_what_is_in_the_image(
    center: tuple[float, float, float], yaw: float, size: tuple[float, float, float]
) -> None:
    """Compared with thousands of points of the box: those in the image lie in the 2D box and nearly reach its sides."""
    to_camera = inverse(FORWARD_CAMERA_TO_EGO) @ pose(yaw_rotation(yaw), np.array(center))
    found, cut = (values[0] for values in project_to_image(to_camera[None], np.array([size]), CAMERA))
    grid = np.stack(np.meshgrid(*[np.linspace(-0.5, 0.5, 31)] * 3, indexing="ij"), -1).reshape(-1, 3)
    pixels, depth = project(transform(to_camera, grid * size), np.asarray(CAMERA.intrinsics))
    pixels = pixels[depth > 0.1]
    inside = pixels[((pixels >= LOW) & (pixels <= HIGH)).all(1)]
    if not found.any():
        assert not len(inside)
        return
    assert (found[:2] >= LOW - 1e-9).all() and (found[2:] <= HIGH + 1e-9).all() and (found[2:] > found[:2]).all()
    if len(inside):
        assert (inside >= found[:2] - 1e-6).all() and (inside <= found[2:] + 1e-6).all()
    if len(pixels) == len(grid) and not cut.any():
        np.testing.assert_allclose(found, [*pixels.min(0), *pixels.max(0)], atol=1e-6)
    outside = [pixels[:, 0].min(initial=0) < -0.6, pixels[:, 1].min(initial=0) < -0.6]
    outside += [pixels[:, 0].max(initial=0) > 159.6, pixels[:, 1].max(initial=0) > 95.6]
    assert all(is_cut for is_cut, is_outside in zip(cut, outside, strict=True) if is_outside)


def test_a_nearer_box_occludes_and_never_itself() -> None:
    near, far = box("near", (10.0, 0.0, 0.0)), box("far", (30.0, 0.0, 0.0))
    found = annotate_boxes(scene_with(far, near))
    assert found.visible_share[0, :, 0].tolist() == [0.0, 1.0]
    assert found.occluded_share[0, :, 0].tolist() == [1.0, 0.0]
    beside = box("beside", (30.0, -3.0, 0.0))
    half = annotate_boxes(scene_with(beside, near)).occluded_share[0, 0, 0]
    assert 0.2 < half < 0.8


def test_a_box_that_leaves_the_image_is_less_visible_but_not_occluded() -> None:
    found = annotate_boxes(scene_with(box("a", (10.0, 8.0, 0.0))))
    assert 0.2 < found.visible_share[0, 0, 0] < 0.8 and found.occluded_share[0, 0, 0] == 0


def test_velocities_are_in_the_world_and_unknown_for_a_single_frame() -> None:
    moving = box("moving", (20.0, 0.0, 0.0), velocity=6.0)
    once = box("once", (20.0, 3.0, 0.0), velocity=6.0, present=np.array([False, True, False]))
    found = annotate_boxes(scene_with(moving, once, speed=10.0))
    np.testing.assert_allclose(found.velocities[0], [[6.0, 0, 0]] * 3, atol=1e-5)
    assert np.isnan(found.velocities[1]).all()
    assert not found.boxes_2d[0, 1, [0, 2]].any() and found.boxes_2d[0, 1, 1].any()


def test_attributes_are_those_annotated_or_follow_from_the_speed() -> None:
    tracks = (
        box("moving", (20.0, 0.0, 0.0), velocity=6.0),
        box("parked", (20.0, 3.0, 0.0), attributes=("vehicle.parked", "", "vehicle.parked")),
        box("person", (20.0, 6.0, 0.0), category="human.pedestrian.adult"),
        box("cone", (20.0, -3.0, 0.0), category="movable_object.trafficcone", present=np.array([True, True, False])),
    )
    found = annotate_boxes(scene_with(*tracks)).attributes
    assert found[0].tolist() == ["vehicle.moving"] * 3
    assert found[1].tolist() == ["vehicle.parked", "vehicle.stopped", "vehicle.parked"]
    assert found[2].tolist() == ["pedestrian.standing"] * 3 and found[3].tolist() == [""] * 3


def test_without_pose_calibration_or_tracks_there_is_nothing_to_see() -> None:
    scene = small_scene()
    blind = annotate_boxes(replace(scene, ego_to_world=None))
    assert np.isnan(blind.visible_share).all() and not blind.boxes_2d.any()
    bare = annotate_boxes(bare_clip().scene)
    assert (
        bare.boxes_2d.shape == (1, 0, 9, 4) and bare.velocities.shape == (0, 9, 3) and bare.attributes.shape == (0, 9)
    )


def test_moving_extrinsics_are_those_of_the_frame() -> None:
    mounts = pose(np.eye(3), np.array([[0.0, 0, 0], [5.0, 0, 0], [10.0, 0, 0]])) @ FORWARD_CAMERA_TO_EGO
    found = annotate_boxes(scene_with(box("a", (20.0, 0.0, 0.0)), camera=replace(CAMERA, camera_to_ego=mounts)))
    widths = found.boxes_2d[0, 0, :, 2] - found.boxes_2d[0, 0, :, 0]
    np.testing.assert_allclose(widths, [200 / 18, 200 / 13, 200 / 8], atol=1e-4)
