"""A street of textured planes with a car, rendered exactly, and mutations of its clips."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np

from driveforge.datasets.geometry import BOX_FACES, FORWARD_CAMERA_TO_EGO, box_corners, pixel_rays, pose, yaw_rotation
from driveforge.datasets.scene import Camera, Clip, Scene, Track

TEXELS_PER_M = 12.0
CAR_SIZE = np.array([4.2, 1.9, 1.6])


@dataclass(frozen=True, kw_only=True, eq=False)
class Surface:
    """A parallelogram at ``origin`` spanned by ``across`` and ``along`` (m, world)."""

    origin: np.ndarray
    across: np.ndarray
    along: np.ndarray
    texture: int


def street(
    *,
    height: int = 96,
    width: int = 160,
    num_frames: int = 17,
    speed: float = 8.0,
    yaw_rate: float = 0.0,
    seed: int = 0,
    draw_car: Callable[[int], bool] = lambda t: True,
    parked: bool = False,
) -> Clip:
    """A camera that drives at ``speed`` m/s and turns at ``yaw_rate`` deg/s, behind a car in the next lane.

    A ``parked`` car is 18 m ahead of the start of the ego.
    """
    rng = np.random.default_rng(seed)
    path = drive(num_frames, speed, yaw_rate)
    ahead = [pose(yaw_rotation(0.05), [9.0 + 0.06 * t, 2.6, 0.85]) for t in range(num_frames)]
    parked_poses = np.tile(pose(np.eye(3), [18.0, 3.4, 0.8]), (num_frames, 1, 1))
    car = Track(
        id="car",
        category="vehicle.car",
        size=CAR_SIZE,
        box_to_world=parked_poses if parked else path @ np.stack(ahead),
        present=np.ones(num_frames, bool),
    )
    focal = 0.85 * width
    intrinsics = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    mount = pose(FORWARD_CAMERA_TO_EGO[:3, :3], [1.5, 0.0, 1.6])
    scene = Scene(
        clip_id=f"street-{seed}",
        domain="driving-day",
        timestamps=np.arange(num_frames) / 10,
        cameras=(Camera(name="front", width=width, height=height, intrinsics=intrinsics, camera_to_ego=mount),),
        ego_to_world=path,
        tracks=(car,),
        source="simulated street",
    )
    levels = _textures(seed)
    frames = [_render(scene, t, levels, draw_car(t)) for t in range(num_frames)]
    noisy = np.stack(frames) + rng.normal(0, 1.0, (num_frames, height, width, 1))
    return Clip(scene=scene, frames=np.clip(noisy, 0, 255).astype(np.uint8)[None])


def resized(camera: Camera, height: int, width: int) -> Camera:
    """``camera`` with another image size and matching intrinsics."""
    scale = np.diag([width / camera.width, height / camera.height, 1.0])
    return replace(camera, height=height, width=width, intrinsics=scale @ np.asarray(camera.intrinsics))


def drive(num_frames: int, speed: float, yaw_rate: float) -> np.ndarray:
    """Ego poses ``(T, 4, 4)`` along an arc, 10 Hz."""
    headings = np.radians(yaw_rate) * np.arange(num_frames) / 10
    steps = speed / 10 * np.stack([np.cos(headings), np.sin(headings), 0 * headings], 1)
    return pose(yaw_rotation(headings), np.vstack([np.zeros(3), np.cumsum(steps[:-1], 0)]))


def commanded_yaw(clip: Clip, rate: float) -> Clip:
    """The same pixels under a command with a yaw drift of ``rate`` deg/s; boxes stay in place in the image."""
    scene = clip.scene
    path = drive(scene.num_frames, float(np.linalg.norm(scene.ego_to_world[1, :3, 3])) * 10, rate)
    car = scene.tracks[0]
    in_ego = np.linalg.inv(scene.ego_to_world) @ car.box_to_world
    return clip.with_scene(ego_to_world=path, tracks=(replace(car, box_to_world=path @ in_ego),))


def commanded_speed(clip: Clip, factor: float) -> Clip:
    """The same pixels under a command that drives ``factor`` times as far; boxes stay in place in the world."""
    path = clip.scene.ego_to_world.copy()
    path[:, :3, 3] = path[0, :3, 3] + factor * (path[:, :3, 3] - path[0, :3, 3])
    return clip.with_scene(ego_to_world=path)


def commanded_box(clip: Clip, offsets: np.ndarray) -> Clip:
    """The same pixels under a command that moves the box ``(T,)`` m to its left."""
    car = clip.scene.tracks[0]
    moved = car.box_to_world.copy()
    moved[:, :3, 3] += offsets[:, None] * moved[:, :3, 1]
    return clip.with_scene(tracks=(replace(car, box_to_world=moved),))


def reordered(clip: Clip, order: Sequence[int]) -> Clip:
    return Clip(scene=clip.scene, frames=np.ascontiguousarray(clip.frames[:, list(order)]))


def brightened(clip: Clip, gains: np.ndarray) -> Clip:
    frames = np.clip(clip.frames * gains[None, :, None, None, None], 0, 255).astype(np.uint8)
    return Clip(scene=clip.scene, frames=frames)


@lru_cache
def _textures(seed: int) -> list[list[np.ndarray]]:
    """For each surface a pyramid of periodic noise, each level twice as coarse."""
    rng = np.random.default_rng(seed)
    return [[_noise(rng, 1.2 * 2**level) for level in range(6)] for _ in range(5)]


def _noise(rng: np.random.Generator, sigma: float) -> np.ndarray:
    octaves = [_blurred(rng, octave * sigma) for octave in (1, 3, 9)]
    return (125 + 30 * np.sum([octave / max(octave.std(), 1e-6) for octave in octaves], 0)).astype(np.float32)


def _blurred(rng: np.random.Generator, sigma: float) -> np.ndarray:
    """Periodic white noise after a Gaussian blur of ``sigma`` texels."""
    frequency = np.fft.fftfreq(256)
    gaussian = np.exp(-2 * (np.pi * sigma * frequency) ** 2)
    return np.fft.ifft2(np.fft.fft2(rng.normal(size=(256, 256))) * np.outer(gaussian, gaussian)).real


def _render(scene: Scene, t: int, textures: list[list[np.ndarray]], draw_car: bool) -> np.ndarray:
    camera = scene.cameras[0]
    rays = pixel_rays(camera.intrinsics, camera.height, camera.width)
    to_world = scene.camera_to_world(camera)[t]
    rays, center = rays @ to_world[:3, :3].T, to_world[:3, 3]
    image = np.full(rays.shape[:2], 190.0) + 20 * rays[..., 2]
    nearest = np.full(rays.shape[:2], np.inf)
    for surface in [*_surroundings(), *(_car_faces(scene.tracks[0], t) if draw_car else [])]:
        depth, u, v = _meet(surface, rays, center)
        seen = (depth > 0.3) & (depth < nearest) & (u >= 0) & (u <= 1) & (v >= 0) & (v <= 1)
        u, v = u * np.linalg.norm(surface.across), v * np.linalg.norm(surface.along)
        level = np.clip(np.log2(np.maximum(depth, 1e-3) * TEXELS_PER_M / camera.intrinsics[0, 0]), 0, 5).astype(int)
        for k, texture in enumerate(textures[surface.texture]):
            here = seen & (level == k)
            if here.any():
                image[here] = _sample(texture, u, v)[here]
        nearest[seen] = depth[seen]
    return np.repeat(image[..., None], 3, -1)


def _surroundings() -> list[Surface]:
    def far(*xyz: float) -> np.ndarray:
        return np.array(xyz)

    return [
        Surface(origin=far(-50, -60, 0), across=far(250, 0, 0), along=far(0, 120, 0), texture=0),
        Surface(origin=far(-50, 9, 0), across=far(250, 0, 0), along=far(0, 0, 9), texture=1),
        Surface(origin=far(-50, -7, 0), across=far(250, 0, 0), along=far(0, 0, 7), texture=2),
        Surface(origin=far(60, -60, 0), across=far(0, 120, 0), along=far(0, 0, 12), texture=3),
    ]


def _car_faces(car: Track, t: int) -> list[Surface]:
    corners = box_corners(car.box_to_world[t], car.size)
    return [
        Surface(origin=corners[a], across=corners[b] - corners[a], along=corners[d] - corners[a], texture=4)
        for a, b, _, d in BOX_FACES
    ]


def _meet(surface: Surface, rays: np.ndarray, center: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Depth and the two surface coordinates of every pixel's ray; infinity for parallel rays."""
    normal = np.cross(surface.across, surface.along)
    slope = rays @ normal
    depth = ((surface.origin - center) @ normal) / np.where(np.abs(slope) < 1e-9, np.inf, slope)
    offset = center + depth[..., None] * rays - surface.origin
    u = offset @ surface.across / (surface.across @ surface.across)
    v = offset @ surface.along / (surface.along @ surface.along)
    return depth, u, v


def _sample(texture: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    x, y = ((meters * TEXELS_PER_M % 256).astype(np.float32) for meters in (u, v))
    return cv2.remap(texture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
