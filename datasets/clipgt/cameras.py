"""f-theta cameras of a ClipGT rig, and their conversion to and from pinhole cameras.

In an f-theta image, the distance r of a pixel from the principal point determines the angle from the optical axis:
theta = k0 + k1 r + k2 r^2 + ... A pinhole camera has theta = atan(r / f).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from driveforge.datasets.clipgt.vocabulary import channel_name, sensor_name
from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.geometry import FORWARD_CAMERA_TO_EGO, Array, pose
from driveforge.datasets.scene import Camera

# Beyond it, the edges of a pinhole image are stretched more than eightfold.
MAX_PINHOLE_FOV_DEG = 140.0
# NVIDIA's reader takes at most six coefficients.
_DEGREE, _NUM_SAMPLES = 5, 2000
_TO_ANGLE, _TO_PIXELS = "pixeldistance-to-angle", "angle-to-pixeldistance"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FThetaCamera:
    """A camera of a rig. ``where`` names it in errors; sizes and principal point are in px.

    ``coefficients`` ``(K,)`` give the angle of a distance in px, or the distance of an angle if ``to_pixels``.
    ``linear`` ``(2, 2)`` is applied to the distorted offset before the principal point is added. ``camera_to_ego``
    ``(4, 4)`` has OpenCV camera axes.
    """

    name: str
    where: str
    width: int
    height: int
    center: Array
    coefficients: Array
    to_pixels: bool
    linear: Array
    camera_to_ego: Array

    def angles(self, radii: Array) -> Array:
        """Angles from the optical axis, in radians, at increasing distances ``(N,)`` in px before ``linear``."""
        polynomial = np.polynomial.Polynomial(self.coefficients)
        if self.to_pixels:
            angles = np.linspace(0, np.pi, 20_000)
            distances = np.maximum.accumulate(polynomial(angles))
            out = np.interp(radii, distances, angles)
        else:
            out = polynomial(radii)
        if not (np.diff(out) >= 0).all():
            raise UserError(f"{self.where}: the polynomial does not increase over the image")
        return np.asarray(out)

    def angle_to(self, x: float, y: float) -> float:
        """The angle from the optical axis to the pixel (x, y), in radians."""
        radius = float(np.linalg.norm(np.linalg.solve(self.linear, np.array([x, y]) - self.center)))
        return float(self.angles(np.linspace(0, radius, 256))[-1])


def read_rig(cell: str | Mapping[str, Any], path: Path) -> list[FThetaCamera]:
    """The cameras in the calibration ``cell``, a rig JSON or an object that holds one. ``path`` names it in errors."""
    where = f"{path}: calibration_estimate.rig_json"
    rig: Any = cell
    for key in ("rig_json", "rig"):
        rig = _parse(rig, where)
        rig = rig.get(key, rig)
    sensors = _parse(rig, where).get("sensors")
    if not isinstance(sensors, list):
        raise UserError(f"{where} has no list of sensors")
    named = [sensor for sensor in sensors if isinstance(sensor, dict)]
    return [_parse_camera(s, where) for s in named if str(s.get("name", "")).startswith("camera:")]


def _parse(value: object, where: str) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise UserError(f"{where} is not JSON ({shorten(error, 80)})") from error
    if not isinstance(value, dict):
        raise UserError(f"{where} must be a JSON object, got {type(value).__name__}")
    return value


def _parse_camera(sensor: Mapping[str, Any], where: str) -> FThetaCamera:
    where = f"{where}: {shorten(sensor['name'])}"
    properties = sensor.get("properties") or {}
    try:
        if properties["Model"] != "ftheta":
            raise UserError(f"{where}: Model must be ftheta, got {shorten(properties['Model'])}")
        direction = properties.get("polynomial-type", _TO_ANGLE)
        if direction not in (_TO_ANGLE, _TO_PIXELS):
            raise UserError(f"{where}: polynomial-type {shorten(direction)} is not known")
        key = "polynomial" if "polynomial" in properties else "bw-poly"
        linear = [
            float(properties.get(f"linear-{letter}", default)) for letter, default in (("c", 1), ("d", 0), ("e", 0))
        ]
        camera = FThetaCamera(
            name=channel_name(sensor["name"]),
            where=where,
            width=int(properties["width"]),
            height=int(properties["height"]),
            center=np.array([float(properties["cx"]), float(properties["cy"])]),
            coefficients=np.array([float(number) for number in properties[key].split()]),
            to_pixels=direction == _TO_PIXELS,
            linear=np.array([[linear[0], linear[1]], [linear[2], 1.0]]),
            camera_to_ego=_parse_mount(sensor),
        )
    except UserError:
        raise
    except KeyError as error:
        raise UserError(f"{where}: {error.args[0]} is missing") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{where}: {shorten(error, 120)}") from error
    values = (camera.center, camera.coefficients, camera.linear, camera.camera_to_ego)
    if not all(np.isfinite(value).all() for value in values) or min(camera.width, camera.height) < 1:
        raise UserError(f"{where}: holds NaN, infinity or an empty image")
    return camera


def _parse_mount(sensor: Mapping[str, Any]) -> Array:
    """``camera_to_ego``: the nominal pose with both corrections, as AlpaSim applies them."""
    nominal = sensor["nominalSensor2Rig_FLU"]
    correction = (sensor.get("correction_sensor_R_FLU") or {}).get("roll-pitch-yaw", (0.0, 0.0, 0.0))
    shift = np.array(sensor.get("correction_rig_T") or (0.0, 0.0, 0.0), np.float64)
    rotation = _from_angles(nominal["roll-pitch-yaw"]) * _from_angles(correction)
    return pose(rotation.as_matrix(), np.array(nominal["t"], np.float64) + shift) @ FORWARD_CAMERA_TO_EGO


def _from_angles(roll_pitch_yaw: Sequence[float]) -> Any:
    return Rotation.from_euler("xyz", np.array(roll_pitch_yaw, np.float64), degrees=True)


def fit_pinhole(camera: FThetaCamera, height: int, width: int) -> Camera:
    """A pinhole camera of ``height`` x ``width`` px with the pose and the horizontal field of view of ``camera``.

    Its pixels are square, and its middle row looks where that of the f-theta image does; above and below, it may show
    more or less than the f-theta image. Raises UserError if the field of view exceeds ``MAX_PINHOLE_FOV_DEG``.
    """
    x, y = camera.center
    left, right = camera.angle_to(-0.5, y), camera.angle_to(camera.width - 0.5, y)
    limit = np.radians(MAX_PINHOLE_FOV_DEG) / 2
    if max(left, right) > limit:
        raise UserError(
            f"{camera.where}: its horizontal field of view of {np.degrees(left + right):.0f} degrees is too wide for a "
            f"pinhole camera ({MAX_PINHOLE_FOV_DEG:.0f} at most); choose others with data.cameras"
        )
    middle = (camera.height - 1) / 2
    focal = width / (np.tan(left) + np.tan(right))
    below = np.copysign(np.tan(camera.angle_to(x, middle)), middle - y)
    intrinsics = [[focal, 0, focal * np.tan(left) - 0.5], [0, focal, (height - 1) / 2 - focal * below], [0, 0, 1]]
    try:
        return Camera(
            name=camera.name, width=width, height=height, intrinsics=np.array(intrinsics),
            camera_to_ego=camera.camera_to_ego,
        )  # fmt: skip
    except UserError as error:
        raise UserError(f"{camera.where}: {error}") from error


def rig_json(cameras: Sequence[Camera]) -> str:
    """The rig of calibrated pinhole ``cameras``; polynomials of degree 5 approximate them (see ``docs/clipgt.md``)."""
    return json.dumps({"rig": {"sensors": [sensor_json(camera) for camera in cameras]}})


def sensor_json(camera: Camera) -> dict[str, Any]:
    """The entry of ``camera`` in a rig. Extrinsics that differ between frames are averaged."""
    assert camera.intrinsics is not None and camera.camera_to_ego is not None
    k, mounts = camera.intrinsics, camera.camera_to_ego.reshape(-1, 4, 4)
    linear = (float(k[0, 0] / k[1, 1]), float(k[0, 1] / k[1, 1]), 0.0)
    to_rig = Rotation.from_matrix(mounts[:, :3, :3] @ FORWARD_CAMERA_TO_EGO[:3, :3].T).mean()
    return {
        "name": sensor_name(camera.name),
        "properties": {
            "Model": "ftheta",
            "cx": repr(float(k[0, 2])),
            "cy": repr(float(k[1, 2])),
            "width": str(camera.width),
            "height": str(camera.height),
            "polynomial": " ".join(repr(float(c)) for c in _fit_polynomial(camera)),
            "polynomial-type": _TO_ANGLE,
            **{f"linear-{letter}": repr(value) for letter, value in zip("cde", linear, strict=True)},
        },
        "nominalSensor2Rig_FLU": {
            "t": mounts[:, :3, 3].mean(0).tolist(),
            "roll-pitch-yaw": to_rig.as_euler("xyz", degrees=True).tolist(),
        },
        "correction_sensor_R_FLU": {"roll-pitch-yaw": [0.0, 0.0, 0.0]},
        "correction_rig_T": [0.0, 0.0, 0.0],
    }


def _fit_polynomial(camera: Camera) -> Array:
    """Coefficients ``(6,)``, the first 0, of the angle at a distance in px: least squares of the error in px."""
    k = camera.intrinsics
    assert k is not None
    corners = np.array([[x, y] for x in (-0.5, camera.width - 0.5) for y in (-0.5, camera.height - 0.5)]) - k[:2, 2]
    linear = np.array([[k[0, 0], k[0, 1]], [0.0, k[1, 1]]]) / k[1, 1]
    largest = float(np.linalg.norm(np.linalg.solve(linear, corners.T), axis=0).max())
    share = np.linspace(0, 1, _NUM_SAMPLES)
    slope = largest * share / k[1, 1]
    powers = share[:, None] ** np.arange(1, _DEGREE + 1)
    # A step of the angle moves a point by (1 + slope^2) f px.
    weight = 1 + slope**2
    scaled = np.linalg.lstsq(powers * weight[:, None], np.arctan(slope) * weight, rcond=None)[0]
    return np.concatenate([[0.0], scaled / largest ** np.arange(1, _DEGREE + 1)])


def is_of_camera(found: FThetaCamera, camera: Camera) -> bool:
    """Whether ``found`` is what ``sensor_json`` writes for ``camera``, up to rounding."""
    expected = _parse_camera(sensor_json(camera), "")
    if (found.width, found.height, found.to_pixels) != (expected.width, expected.height, False):
        return False
    radii = np.linspace(0, np.hypot(camera.width, camera.height), 64)
    angles = (np.polynomial.Polynomial(lens.coefficients)(radii) for lens in (found, expected))
    return bool(np.abs(np.subtract(*angles)).max() < 1e-6) and all(
        np.allclose(getattr(found, name), getattr(expected, name), rtol=1e-9, atol=1e-6)
        for name in ("center", "linear", "camera_to_ego")
    )
