"""f-theta lenses and pinhole cameras."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driveforge.datasets.clipgt.cameras import FThetaCamera, fit_pinhole, is_of_camera, read_rig, rig_json
from driveforge.datasets.errors import UserError
from driveforge.datasets.geometry import FORWARD_CAMERA_TO_EGO, pose
from driveforge.datasets.scene import Camera
from tests.datasets.clipgt.clips import FISHEYE, WIDE, sensor

PATH = Path("c.calibration_estimate.parquet")


def lens(properties: dict[str, str]) -> FThetaCamera:
    (camera,) = read_rig(json.dumps({"rig": {"sensors": [sensor("camera:front:wide:120fov", properties)]}}), PATH)
    return camera


def pinhole(fov_deg: float, *, width: int = 1600, height: int = 900, shift: float = 0.0) -> Camera:
    focal = width / 2 / np.tan(np.radians(fov_deg) / 2)
    center = ((width - 1) / 2 + shift, (height - 1) / 2 - shift)
    return Camera(
        name="CAM_FRONT",
        width=width,
        height=height,
        intrinsics=np.array([[focal, 0, center[0]], [0, focal, center[1]], [0, 0, 1]]),
        camera_to_ego=pose(FORWARD_CAMERA_TO_EGO[:3, :3], [1.5, 0, 1.6]),
    )


def test_the_pose_includes_both_corrections() -> None:
    """A nominal yaw of -1 degree and a correction by +1 degree look straight ahead, from 0.1 m further in front."""
    expected = pose(FORWARD_CAMERA_TO_EGO[:3, :3], [1.8, 0.0, 1.4])
    np.testing.assert_allclose(lens(WIDE).camera_to_ego, expected, atol=1e-12)


def test_a_pinhole_camera_gets_the_horizontal_field_of_view_of_the_lens() -> None:
    camera = fit_pinhole(lens(WIDE), 96, 160)
    assert camera.intrinsics is not None
    assert (camera.name, camera.width, camera.height) == ("CAM_FRONT", 160, 96)
    focal = 80 / np.tan(np.radians(60))
    np.testing.assert_allclose(camera.intrinsics, [[focal, 0, 79.5], [0, focal, 47.5], [0, 0, 1]], atol=1e-9)


def test_a_principal_point_off_the_center_turns_the_same_rays_into_the_edges() -> None:
    found = lens(WIDE | {"cx": "1700", "cy": "1000"})
    camera = fit_pinhole(found, 96, 160)
    k = camera.intrinsics
    assert k is not None
    for pixel, edge in ((-0.5, -0.5), (3847.5, 159.5)):
        angle = np.radians(120) / 3848 * (pixel - 1700)
        assert k[0, 0] * np.tan(angle) + k[0, 2] == pytest.approx(edge)
    down = np.radians(120) / 3848 * (1083.5 - 1000)
    assert k[1, 1] * np.tan(down) + k[1, 2] == pytest.approx(47.5)


def test_both_directions_of_the_polynomial_give_the_same_camera() -> None:
    forward = WIDE | {"polynomial": f"0 {3848 / np.radians(120)!r}", "polynomial-type": "angle-to-pixeldistance"}
    expected, found = fit_pinhole(lens(WIDE), 96, 160), fit_pinhole(lens(forward), 96, 160)
    np.testing.assert_allclose(found.intrinsics, expected.intrinsics, rtol=1e-3)  # type: ignore[arg-type]


def test_a_lens_that_is_too_wide_is_refused() -> None:
    with pytest.raises(UserError, match=r"camera:front:wide:120fov: its horizontal field of view of 200 degrees") as e:
        fit_pinhole(lens(FISHEYE), 96, 160)
    assert "data.cameras" in str(e.value) and str(PATH) in str(e.value)


@given(st.floats(20, 90), st.floats(-100, 100))
def test_the_lens_of_a_pinhole_camera_is_fitted_by_that_camera(fov_deg: float, shift: float) -> None:
    camera = pinhole(fov_deg, shift=shift)
    (written,) = read_rig(rig_json([camera]), PATH)
    assert is_of_camera(written, camera)
    assert not is_of_camera(written, pinhole(fov_deg + 0.1, shift=shift))
    found = fit_pinhole(written, 900, 1600)
    assert camera.intrinsics is not None and found.intrinsics is not None
    # One degree of polynomial error at the edge would be 30 px.
    np.testing.assert_allclose(found.intrinsics, camera.intrinsics, atol=1.5)


@pytest.mark.parametrize(("fov_deg", "limit"), [(60, 0.02), (90, 0.05), (120, 1.1)])
def test_the_polynomial_is_close_to_the_pinhole_camera(fov_deg: float, limit: float) -> None:
    """The error in px over the diagonal of an image 1600 px wide, as docs/clipgt.md states it."""
    camera = pinhole(fov_deg)
    (written,) = read_rig(rig_json([camera]), PATH)
    assert camera.intrinsics is not None
    radii = np.linspace(0, np.hypot(800, 450), 500)
    shown = camera.intrinsics[0, 0] * np.tan(written.angles(radii))
    assert limit / 2 < np.abs(shown - radii).max() < limit


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Model": "pinhole"}, "Model must be ftheta, got pinhole"),
        ({"polynomial-type": "odd"}, "polynomial-type odd is not known"),
        ({"cx": "left"}, "could not convert string to float: 'left'"),
        ({"cy": "nan"}, "holds NaN"),
        ({"polynomial": "0 -1e-4"}, "does not increase"),
    ],
)
def test_a_wrong_camera_is_named(change: dict[str, str], message: str) -> None:
    with pytest.raises(
        UserError, match=rf"^{PATH}: calibration_estimate.rig_json: camera:front:wide:120fov: .*{message}"
    ):
        fit_pinhole(lens(WIDE | change), 96, 160)


def test_a_missing_property_is_named() -> None:
    properties = {key: value for key, value in WIDE.items() if key != "width"}
    with pytest.raises(UserError, match="camera:front:wide:120fov: width is missing"):
        lens(properties)


@pytest.mark.parametrize(
    ("cell", "message"), [("{", "is not JSON"), ("[]", "must be a JSON object"), ("{}", "no list")]
)
def test_a_wrong_rig_is_named(cell: str, message: str) -> None:
    with pytest.raises(UserError, match=rf"{PATH}: calibration_estimate.rig_json.*{message}"):
        read_rig(cell, PATH)


def test_an_edited_polynomial_is_another_camera() -> None:
    """Also in a high power: one millionth of a radian at the edge counts."""
    camera = pinhole(60)
    (written,) = read_rig(rig_json([camera]), PATH)
    change = np.array([0, 0, 0, 1e-14, 0, 0])
    assert not is_of_camera(replace(written, coefficients=written.coefficients + change), camera)
