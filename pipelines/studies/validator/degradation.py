"""What good recordings suffer: a worn clip is still good, and a validator must not reject it.

Cameras add noise, blur and drifting exposure, recorders compress, localisation and annotation are a little off. A
calibration or a study on clips that are too clean would call all of that an error.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from driveforge.datasets.geometry import Array
from driveforge.datasets.scene import Clip, Scene, Track


@dataclass(frozen=True, kw_only=True, slots=True)
class Wear:
    """Amounts: sensor ``noise`` (grey levels, after ``gain``), ``blur`` (px of 256 rows), ``exposure`` (rms log gain,
    drifting slowly), JPEG ``quality``; errors of the commanded pose (deg and m, rms) and of boxes (m, rms).
    """

    noise: float
    blur: float
    quality: int
    gain: float = 1.0
    exposure: float = 0.01
    pose_deg: float = 0.02
    pose_m: float = 0.01
    box_m: float = 0.05


def draw_wear(rng: np.random.Generator) -> Wear:
    """The wear of an ordinary recording by daylight."""
    return Wear(noise=rng.uniform(1.0, 3.5), blur=rng.uniform(0.0, 0.8), quality=int(rng.integers(70, 96)))


def at_night(wear: Wear) -> Wear:
    """A quarter of the light, and the noise of a sensor that is turned up."""
    return replace(wear, gain=0.25, noise=max(wear.noise, 4.0))


def noisy(wear: Wear) -> Wear:
    """A poor camera behind a poor link."""
    return replace(wear, noise=8.0, quality=55)


def worn(clip: Clip, wear: Wear, seed: int) -> Clip:
    """``clip`` after ``wear``; the same arguments give the same bytes."""
    rng = np.random.default_rng(seed)
    gains = wear.gain * np.exp(_drift(rng, wear.exposure, clip.scene.num_frames))
    views = [np.stack([_worn_frame(f, g, wear, rng) for f, g in zip(view, gains, strict=True)]) for view in clip.frames]
    return Clip(scene=_misjudged(clip.scene, wear, rng), frames=np.stack(views))


def _worn_frame(frame: NDArray[np.uint8], gain: float, wear: Wear, rng: np.random.Generator) -> NDArray[np.uint8]:
    signal = frame.astype(np.float32) * gain
    if wear.blur > 0:
        signal = cv2.GaussianBlur(signal, (0, 0), max(wear.blur * len(frame) / 256, 0.1))
    # The noise of a Bayer sensor is mostly one of brightness.
    signal = signal + wear.noise * rng.normal(size=(*frame.shape[:2], 1)).astype(np.float32)
    clean = signal.round().clip(0, 255).astype(np.uint8)
    _, packed = cv2.imencode(".jpg", clean[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, wear.quality])
    return np.ascontiguousarray(cv2.imdecode(packed, cv2.IMREAD_COLOR)[..., ::-1])


def _misjudged(scene: Scene, wear: Wear, rng: np.random.Generator) -> Scene:
    """The scene as localisation and annotators would have it."""
    if scene.ego_to_world is None:
        return scene
    poses = np.array(scene.ego_to_world)
    angles = np.stack([_drift(rng, wear.pose_deg, len(poses)) for _ in range(3)], -1)
    poses[:, :3, :3] = poses[:, :3, :3] @ Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    poses[:, :3, 3] += np.stack([_drift(rng, wear.pose_m, len(poses)) for _ in range(3)], -1)
    return replace(scene, ego_to_world=poses, tracks=tuple(_misplaced(track, wear, rng) for track in scene.tracks))


def _misplaced(track: Track, wear: Wear, rng: np.random.Generator) -> Track:
    """A box off by a constant, and by a little that changes."""
    boxes = np.array(track.box_to_world)
    offset = rng.normal(0, wear.box_m, 3)
    wobble = np.stack([_drift(rng, wear.box_m / 4, len(boxes)) for _ in range(3)], -1)
    boxes[:, :3, 3] += offset + wobble
    return replace(track, box_to_world=boxes)


def _drift(rng: np.random.Generator, rms: float, length: int) -> Array:
    """Slow noise ``(length,)``: a first-order autoregression that forgets in ten frames."""
    keep = np.exp(-1 / 10)
    values = [rng.normal(0, rms)]
    for _ in range(length - 1):
        values.append(keep * values[-1] + rng.normal(0, rms * np.sqrt(1 - keep**2)))
    return np.array(values)
