"""Clips of a textured board that slides across a textured wall in front of a static camera."""

from dataclasses import replace

import cv2
import numpy as np
import torch

from driveforge.datasets.geometry import FORWARD_CAMERA_TO_EGO, pose
from driveforge.datasets.scene import Camera, Clip, Scene, Track
from driveforge.finetune.evaluation.clips import EvaluationClip, EvaluationTensors
from driveforge.finetune.evaluation.moving_regions import segment_moving_pixels
from driveforge.finetune.world_model.clip_encoder import average_over_latent_cells

HEIGHT, WIDTH, FRAMES = 48, 80, 9
START = 3  # the last context frame
FOCAL, DISTANCE, SIDE = 50.0, 6.0, 1.6
SPEED = 2.4  # m/s, 2 px per frame


def make_sliding_clip(
    *, seed: int = 0, speed: float = SPEED, drawn: bool = True, shift: tuple[float, float] = (0, 0)
) -> Clip:
    """The board moves to the right; after frame ``START`` it is drawn ``shift`` px off its box, or not at all."""
    times = np.arange(FRAMES) / 10
    mount = FORWARD_CAMERA_TO_EGO.copy()
    mount[2, 3] = 1.5
    intrinsics = np.array([[FOCAL, 0, (WIDTH - 1) / 2], [0, FOCAL, (HEIGHT - 1) / 2], [0, 0, 1]])
    place = np.stack([np.full(FRAMES, DISTANCE), 1.2 - speed * times, np.full(FRAMES, 1.5)], -1)
    board = Track(
        id="board",
        category="object",
        size=[0.02, SIDE, SIDE],
        box_to_world=pose(np.eye(3), place),
        present=np.ones(FRAMES, bool),
    )
    scene = Scene(
        clip_id=f"sliding-{seed}",
        domain="walkers",
        caption="a board slides",
        timestamps=times,
        cameras=(Camera(name="front", width=WIDTH, height=HEIGHT, intrinsics=intrinsics, camera_to_ego=mount),),
        ego_to_world=np.tile(np.eye(4), (FRAMES, 1, 1)),
        tracks=(board,),
    )
    rng = np.random.default_rng(seed)
    wall, texture = _texture(rng, HEIGHT, WIDTH, 90), _texture(rng, 32, 32, 160)
    frames = []
    for t in range(FRAMES):
        center = np.array([-place[t, 1] * FOCAL / DISTANCE + (WIDTH - 1) / 2, (HEIGHT - 1) / 2])
        frames.append(_draw(wall, texture, center + (np.array(shift) if t > START else 0), drawn or t <= START))
    return Clip(scene=scene, frames=np.stack(frames)[None])


def _texture(rng: np.random.Generator, height: int, width: int, level: float) -> np.ndarray:
    noise = cv2.GaussianBlur(rng.normal(0, 1, (height, width, 3)), (0, 0), 2.0)
    return np.clip(level + 30 * noise / noise.std(), 0, 255).astype(np.uint8)


def _draw(wall: np.ndarray, texture: np.ndarray, center: np.ndarray, drawn: bool) -> np.ndarray:
    if not drawn:
        return wall
    scale = SIDE * FOCAL / DISTANCE / 32
    affine = np.array([[scale, 0, center[0] - 15.5 * scale], [0, scale, center[1] - 15.5 * scale]])
    board = cv2.warpAffine(texture, affine, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE)
    inside = cv2.warpAffine(np.ones((32, 32), np.float32), affine, (WIDTH, HEIGHT))[..., None]
    return np.round(inside * board + (1 - inside) * wall).astype(np.uint8)


def evaluation_clip(clip: Clip) -> EvaluationClip:
    """The clip as after a lossless VAE, with the ground truth of the motion metrics and without latents."""
    moving = average_over_latent_cells(segment_moving_pixels(clip), 8, 1)
    empty = torch.zeros(0)
    tensors = EvaluationTensors(
        warped=empty,
        layout=empty,
        mask=empty,
        rays=empty,
        latents=empty,
        cell_weight=empty,
        moving=moving,
        frames=torch.from_numpy(clip.frames[0].copy()),
    )
    return EvaluationClip(scene=clip.scene, tensors=tensors)


def without_tracks(clip: Clip) -> Clip:
    return Clip(scene=replace(clip.scene, tracks=()), frames=clip.frames)
