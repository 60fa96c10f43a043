"""Degradations of cameras and recorders over time, each a function of a clip and its strength.

The same arguments give the same bytes. Poses and boxes stay those of the recording.
"""

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from driveforge.datasets.geometry import Array
from driveforge.datasets.scene import Camera, Clip, Scene, Track
from driveforge.datasets.video import decode_mp4, encode_mp4
from driveforge.validation.views.view import REFERENCE_ROWS

EXPOSURE_PERIOD = 4  # frames between two decisions of the automatic exposure
EXPOSURE_DEAD_BAND, EXPOSURE_STEP = 0.02, 0.03  # log gain: smaller errors are left, larger ones are reduced stepwise
BLOT_SIZE = (0.02, 0.08)  # standard deviation of a blot, share of the image height


def compress(clip: Clip, crf: int) -> Clip:
    """``clip`` through H.264 with a rate factor ``crf``; recorders use 23 (good) to 33 (poor)."""
    rate = clip.scene.frame_rate or 1.0
    return Clip(
        scene=clip.scene, frames=np.stack([decode_mp4(encode_mp4(view, rate, crf=crf))[0] for view in clip.frames])
    )


def blur(clip: Clip, sigma: float) -> Clip:
    """A lens slightly out of focus: a Gaussian of ``sigma`` px of an image of 256 rows."""
    size = max(sigma * clip.frames.shape[2] / REFERENCE_ROWS, 0.1)
    views = [np.stack([cv2.GaussianBlur(frame, (0, 0), size) for frame in view]) for view in clip.frames]
    return Clip(scene=clip.scene, frames=np.stack(views).astype(np.uint8))


def drift_exposure(clip: Clip, share: float) -> Clip:
    """A gain that drifts evenly from 1 - ``share`` to 1 + ``share`` over the clip."""
    gains = np.log(np.linspace(1 - share, 1 + share, clip.scene.num_frames))
    return Clip(scene=clip.scene, frames=np.stack([_expose(view, gains) for view in clip.frames]))


def auto_expose(clip: Clip, offset: float, hunting: float, seed: int) -> Clip:
    """An automatic exposure that starts at a log gain of ``offset`` and follows the brightness of each camera.

    Every few frames it compares the brightness with that of the first frame without gain, and corrects a part of the
    difference in one step. ``hunting`` is the rms of a log gain that differs from frame to frame, by lamps on AC mains
    and by rounded shutter times.
    """
    rng = np.random.default_rng(seed)
    views = [_expose(view, _exposure_gains(view, offset) + rng.normal(0, hunting, len(view))) for view in clip.frames]
    return Clip(scene=clip.scene, frames=np.stack(views))


def _exposure_gains(view: NDArray[np.uint8], offset: float) -> Array:
    """Log gain ``(T,)`` of every frame."""
    brightness = np.log(view.mean((1, 2, 3)) + 1.0)
    gains, gain = [], offset
    for t, measured in enumerate(brightness):
        error = float(brightness[0] - measured - gain)
        if t % EXPOSURE_PERIOD == EXPOSURE_PERIOD - 1 and abs(error) > EXPOSURE_DEAD_BAND:
            gain += float(np.clip(0.5 * error, -EXPOSURE_STEP, EXPOSURE_STEP))
        gains.append(gain)
    return np.array(gains)


def _expose(view: NDArray[np.uint8], gains: Array) -> NDArray[np.uint8]:
    exposed = view.astype(np.float32) * np.exp(gains).astype(np.float32)[:, None, None, None]
    return exposed.round().clip(0, 255).astype(np.uint8)


def roll_shutter(clip: Clip, readout: float) -> Clip:
    """A shutter that reads the rows from top to bottom in ``readout`` seconds, the middle one at the time of the frame.

    Rows are turned by the commanded rotation of their camera; its translation needs depth and is left out, so only
    turns matter. Cameras without a pose are unchanged.
    """
    views = [
        np.stack([_roll(frame, camera, rate * readout) for frame, rate in zip(view, rates, strict=True)])
        for camera, view in zip(clip.scene.cameras, clip.frames, strict=True)
        for rates in [_rotation_rates(clip.scene, camera)]
    ]
    return Clip(scene=clip.scene, frames=np.stack(views))


def _rotation_rates(scene: Scene, camera: Camera) -> Array:
    """Rotation vector per second ``(T, 3)`` of a camera in its own coordinates; zeros without a pose."""
    if scene.ego_to_world is None or camera.camera_to_ego is None or camera.intrinsics is None or scene.num_frames < 2:
        return np.zeros((scene.num_frames, 3))
    rotations = scene.camera_to_world(camera)[:, :3, :3]
    steps = Rotation.from_matrix(np.swapaxes(rotations[:-1], -1, -2) @ rotations[1:]).as_rotvec()
    rates = steps / np.diff(scene.timestamps)[:, None]
    return np.concatenate([rates, rates[-1:]])


def _roll(frame: NDArray[np.uint8], camera: Camera, turn: Array) -> NDArray[np.uint8]:
    """``frame`` with its rows turned by -1/2 to 1/2 of the rotation vector ``turn`` ``(3,)`` rad."""
    if camera.intrinsics is None or not turn.any():
        return frame
    height, width = frame.shape[:2]
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    rays = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(camera.intrinsics).T
    turns = Rotation.from_rotvec((np.arange(height)[:, None] / height - 0.5) * turn).as_matrix()
    # A row is exposed by a camera that has turned, so its rays are turned into the camera of the frame: K R d.
    places = np.einsum("ij,rjk,rck->rci", camera.intrinsics, turns, rays)
    maps = (places[..., :2] / places[..., 2:]).astype(np.float32)
    return np.asarray(cv2.remap(frame, maps, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def soil_lens(clip: Clip, blots: int, seed: int) -> Clip:
    """Dirt on every lens: soft ``blots`` that darken and blur the same places of all frames."""
    rng = np.random.default_rng(seed)
    views = []
    for view in clip.frames:
        cover = _blots(rng, blots, view.shape[1], view.shape[2])[..., None]
        sigma = 0.015 * view.shape[1]
        soft = np.stack([cv2.GaussianBlur(frame, (0, 0), max(sigma, 0.1)) for frame in view]).astype(np.float32)
        views.append((view * (1 - cover) + 0.75 * soft * cover).round().clip(0, 255).astype(np.uint8))
    return Clip(scene=clip.scene, frames=np.stack(views))


def _blots(rng: np.random.Generator, count: int, height: int, width: int) -> NDArray[np.float32]:
    """The opacity ``(H, W)`` of dirt, 0 to 0.7."""
    rows, columns = np.mgrid[:height, :width]
    cover = np.zeros((height, width))
    for _ in range(count):
        row, column = rng.uniform(0, height), rng.uniform(0, width)
        size = rng.uniform(*BLOT_SIZE) * height
        blot = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * size**2))
        cover = np.maximum(cover, rng.uniform(0.3, 0.7) * blot)
    return cover.astype(np.float32)


def stand_still(clip: Clip) -> Clip:
    """The scene of the first frame for the length of the clip: the ego vehicle waits, and nothing moves."""
    scene = clip.scene
    return Clip(
        scene=replace(
            scene,
            ego_to_world=None if scene.ego_to_world is None else _hold(scene.ego_to_world),
            cameras=tuple(_hold_camera(camera) for camera in scene.cameras),
            tracks=tuple(_hold_track(track) for track in scene.tracks if track.present[0]),
        ),
        frames=np.repeat(clip.frames[:, :1], scene.num_frames, 1),
    )


def _hold_camera(camera: Camera) -> Camera:
    extrinsics = camera.camera_to_ego
    is_fixed = extrinsics is None or extrinsics.ndim == 2
    return camera if is_fixed else replace(camera, camera_to_ego=_hold(np.asarray(extrinsics)))


def _hold_track(track: Track) -> Track:
    return replace(track, box_to_world=_hold(track.box_to_world), present=np.ones(len(track.present), np.bool_))


def _hold(poses: Array) -> Array:
    return np.repeat(poses[:1], len(poses), 0)
