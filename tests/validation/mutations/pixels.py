"""Mutations of the pixels of a clip, of their size and of the number of frames."""

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np

from driveforge.datasets.scene import Clip

Rng = np.random.Generator
Make = Callable[[Clip, Rng], Clip]


def _drawn(draw: Callable[[Clip, Rng], np.ndarray]) -> Make:
    """``draw`` gives frames ``(T, H, W, 3)``, or an array that broadcasts to them."""

    def make(clip: Clip, rng: Rng) -> Clip:
        frames = np.broadcast_to(np.clip(draw(clip, rng), 0, 255), clip.frames.shape).astype(np.uint8)
        return Clip(scene=clip.scene, frames=frames)

    return make


def _checks(clip: Clip, rng: Rng) -> np.ndarray:
    y, x = np.mgrid[: clip.frames.shape[2], : clip.frames.shape[3]] // int(rng.integers(2, 12))
    return (255.0 * ((x + y) % 2))[..., None]


def _shuffled(clip: Clip, rng: Rng) -> Clip:
    """Frames 0, 2, 4 …, then 1, 3 …, from a random start: no two neighbors stay neighbors."""
    length = clip.scene.num_frames
    order = np.roll([*range(0, length, 2), *range(1, length, 2)], int(rng.integers(length)))
    return replace(clip, frames=np.ascontiguousarray(clip.frames[:, order]))


# Pixels that do not show the commanded motion: no verdict may accept them.
GARBAGE: dict[str, Make] = {
    "gray": _drawn(lambda clip, rng: np.array(float(rng.integers(0, 256)))),
    "black": _drawn(lambda clip, rng: np.array(0.0)),
    "saturated": _drawn(lambda clip, rng: np.array(255.0)),
    "blinking": _drawn(lambda clip, rng: rng.choice([0.0, 255.0], (clip.scene.num_frames, 1, 1, 1))),
    "ramp": _drawn(lambda clip, rng: np.linspace(0, 255, clip.frames.shape[3])[:, None]),
    "checks": _drawn(_checks),
    "gray noise": _drawn(lambda clip, rng: rng.integers(0, 256, (*clip.frames.shape[1:4], 1))),
    "colored noise": _drawn(lambda clip, rng: rng.integers(0, 256, clip.frames.shape[1:])),
    "half black dots": _drawn(lambda clip, rng: clip.frames[0] * (rng.random((*clip.frames.shape[1:4], 1)) < 0.5)),
    "frozen": _drawn(lambda clip, rng: clip.frames[0, 0]),
    "frozen under noise": _drawn(lambda clip, rng: clip.frames[0, 0] + rng.normal(0, 6, clip.frames.shape[1:])),
    "backwards": lambda clip, rng: replace(clip, frames=np.ascontiguousarray(clip.frames[:, ::-1])),
    "shuffled": _shuffled,
}


def _sized(height: int, width: int) -> Make:
    """Resized, with the calibration."""

    def make(clip: Clip, rng: Rng) -> Clip:
        interval = np.diag([width / clip.frames.shape[3], height / clip.frames.shape[2], 1.0])
        cameras = tuple(
            replace(c, width=width, height=height, intrinsics=None if c.intrinsics is None else interval @ c.intrinsics)
            for c in clip.scene.cameras
        )
        frames = [
            [cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA) for image in v] for v in clip.frames
        ]
        return Clip(scene=replace(clip.scene, cameras=cameras), frames=np.array(frames, np.uint8))

    return make


def _any_size(clip: Clip, rng: Rng) -> Clip:
    height, width = np.exp(rng.uniform(0, np.log(400), 2)).astype(int)
    return _sized(int(height), int(width))(clip, rng)


_SIZES = (
    (1, 1), (2, 2), (3, 3), (1, 200), (200, 1), (2, 160), (96, 2), (8, 400), (300, 3), (15, 17), (16, 16), (17, 160),
    (160, 17), (33, 47), (65, 97), (160, 96), (7, 12000), (12000, 7), (1, 40000),
)  # fmt: skip

SIZES: dict[str, Make] = {f"{height} x {width}": _sized(height, width) for height, width in _SIZES} | {
    "any size": _any_size
}


def _first(length: int) -> Make:
    def make(clip: Clip, rng: Rng) -> Clip:
        scene, end = clip.scene, min(length, clip.scene.num_frames)
        cameras = tuple(
            replace(c, camera_to_ego=c.camera_to_ego[:end])
            if c.camera_to_ego is not None and c.camera_to_ego.ndim == 3
            else c
            for c in scene.cameras
        )
        short = replace(
            scene,
            timestamps=scene.timestamps[:end],
            ego_to_world=None if scene.ego_to_world is None else scene.ego_to_world[:end],
            cameras=cameras,
            tracks=tuple(replace(k, box_to_world=k.box_to_world[:end], present=k.present[:end]) for k in scene.tracks),
            held_frames=0,
        )
        return Clip(scene=short, frames=clip.frames[:, :end])

    return make


def _one_frame_less(clip: Clip, rng: Rng) -> Clip:
    return Clip(scene=clip.scene, frames=clip.frames[:, :-1])


LENGTHS: dict[str, Make] = {f"{length} frames": _first(length) for length in (1, 2, 3, 4, 5, 6)} | {
    "all frames held but one": lambda clip, rng: clip.with_scene(held_frames=clip.scene.num_frames - 1),
    "all frames held but two": lambda clip, rng: clip.with_scene(held_frames=clip.scene.num_frames - 2),
    "all held": lambda clip, rng: clip.with_scene(held_frames=clip.scene.num_frames),
    "fewer frames than times": _one_frame_less,
    "frames of floats": lambda clip, rng: Clip(scene=clip.scene, frames=clip.frames / 255.0),  # type: ignore[arg-type]
    "frames without color": lambda clip, rng: Clip(scene=clip.scene, frames=clip.frames[..., 0]),
}
