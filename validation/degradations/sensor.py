"""Degradations of good recordings: a degraded clip is still good, and a validator must not reject it.

Cameras add noise, blur and drifting exposure, recorders compress, localization and annotation are inexact. Limits that
are calibrated on clean clips would reject all of these.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from driveforge.datasets.geometry import Array
from driveforge.datasets.scene import Clip, Scene, Track


@dataclass(frozen=True, kw_only=True, slots=True)
class SensorDegradation:
    """The strength of each degradation.

    Sensor ``noise`` (gray levels, after ``gain``), ``blur`` (px at 256 rows), ``exposure`` (rms of a slowly drifting
    log gain), JPEG ``quality``; errors of the commanded pose (deg and m, rms) and of boxes (m, rms).
    """

    noise: float
    blur: float
    quality: int
    gain: float = 1.0
    exposure: float = 0.01
    pose_deg: float = 0.02
    pose_m: float = 0.01
    box_m: float = 0.05


def sample_degradation(rng: np.random.Generator) -> SensorDegradation:
    """Sample the degradation of an ordinary recording in daylight."""
    return SensorDegradation(noise=rng.uniform(1.0, 3.5), blur=rng.uniform(0.0, 0.8), quality=int(rng.integers(70, 96)))


def as_night(degradation: SensorDegradation) -> SensorDegradation:
    """A quarter of the light, and the noise of a high sensor gain."""
    return replace(degradation, gain=0.25, noise=max(degradation.noise, 4.0))


def as_noisy(degradation: SensorDegradation) -> SensorDegradation:
    """A noisy camera with strong compression."""
    return replace(degradation, noise=8.0, quality=55)


def degrade(clip: Clip, degradation: SensorDegradation, seed: int) -> Clip:
    """Apply ``degradation`` to ``clip``; the same arguments give the same bytes."""
    rng = np.random.default_rng(seed)
    gains = degradation.gain * np.exp(_slow_noise(rng, degradation.exposure, clip.scene.num_frames))
    views = [
        np.stack([_degrade_frame(f, g, degradation, rng) for f, g in zip(view, gains, strict=True)])
        for view in clip.frames
    ]
    return Clip(scene=_perturb_scene(clip.scene, degradation, rng), frames=np.stack(views))


def _degrade_frame(
    frame: NDArray[np.uint8], gain: float, degradation: SensorDegradation, rng: np.random.Generator
) -> NDArray[np.uint8]:
    signal = frame.astype(np.float32) * gain
    if degradation.blur > 0:
        signal = cv2.GaussianBlur(signal, (0, 0), max(degradation.blur * len(frame) / 256, 0.1))
    # The noise of a Bayer sensor is mostly in the brightness.
    signal = signal + degradation.noise * rng.normal(size=(*frame.shape[:2], 1)).astype(np.float32)
    clean = signal.round().clip(0, 255).astype(np.uint8)
    _, packed = cv2.imencode(".jpg", clean[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, degradation.quality])
    return np.ascontiguousarray(cv2.imdecode(packed, cv2.IMREAD_COLOR)[..., ::-1])


def _perturb_scene(scene: Scene, degradation: SensorDegradation, rng: np.random.Generator) -> Scene:
    """The scene with errors of localization and annotation."""
    if scene.ego_to_world is None:
        return scene
    poses = np.array(scene.ego_to_world)
    angles = np.stack([_slow_noise(rng, degradation.pose_deg, len(poses)) for _ in range(3)], -1)
    poses[:, :3, :3] = poses[:, :3, :3] @ Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    poses[:, :3, 3] += np.stack([_slow_noise(rng, degradation.pose_m, len(poses)) for _ in range(3)], -1)
    return replace(
        scene, ego_to_world=poses, tracks=tuple(_perturb_track(track, degradation, rng) for track in scene.tracks)
    )


def _perturb_track(track: Track, degradation: SensorDegradation, rng: np.random.Generator) -> Track:
    """A box with a constant offset and a small slow wobble."""
    boxes = np.array(track.box_to_world)
    offset = rng.normal(0, degradation.box_m, 3)
    wobble = np.stack([_slow_noise(rng, degradation.box_m / 4, len(boxes)) for _ in range(3)], -1)
    boxes[:, :3, 3] += offset + wobble
    return replace(track, box_to_world=boxes)


def _slow_noise(rng: np.random.Generator, rms: float, length: int) -> Array:
    """Slow noise ``(length,)``: a first-order autoregression with a time constant of ten frames."""
    keep = np.exp(-1 / 10)
    values = [rng.normal(0, rms)]
    for _ in range(length - 1):
        values.append(keep * values[-1] + rng.normal(0, rms * np.sqrt(1 - keep**2)))
    return np.array(values)
