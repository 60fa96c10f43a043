"""What a learned pose network says of the camera's motion, held against the command.

The network sees the frames alone, so it owes nothing to our tracks. It chooses its own world and scale: only relative
rotations, and the directions of relative translations, are compared.
"""

from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.errors import UserError
from driveforge.datasets.geometry import Array, inverse, is_rigid
from driveforge.validation.camera.pairs import MIN_BASELINE_M
from driveforge.validation.local_weights import load_torchscript
from driveforge.validation.records import (
    NO_POSE_NETWORK,
    STATIONARY_EGO,
    Measure,
    Sample,
    make_measure,
    make_unmeasurable,
    median_measure,
)
from driveforge.validation.views.view import CommandedCamera, View

GAP = 4  # frames, as for the motion that our own tracks show
RIGID_TOLERANCE = 1e-2


class PoseNetwork(Protocol):
    """Anything that tells the camera's poses from its frames. The same frames must give the same poses."""

    def __call__(self, frames: NDArray[np.uint8]) -> Array:
        """Camera-to-world poses ``(T, 4, 4)`` of frames ``(T, H, W, 3)`` RGB, in any one world and at any one scale.

        Camera axes are x right, y down, z forward.
        """


def load_pose_network(path: Path) -> PoseNetwork:
    """The network in the TorchScript file at ``path``: frames ``(T, 3, H, W)`` float32 in 0..1 to poses ``(T, 4, 4)``.

    A published network (VGGT, DUSt3R, ...) is brought to this by a small module around it that resizes the frames and
    turns what it predicts into camera-to-world matrices. A TorchScript file is a program: give only what you trust. A
    UserError where there is no such file, it fails, or what it returns are no poses.
    """
    network = load_torchscript(path)

    def poses(frames: NDArray[np.uint8]) -> Array:
        import torch

        given = torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2))).float() / 255
        predicted = network(given)
        shape = tuple(predicted.shape) if isinstance(predicted, torch.Tensor) else type(predicted).__name__
        if shape != (len(frames), 4, 4):
            raise UserError(f"{path}: must return camera-to-world poses of shape {(len(frames), 4, 4)}, got {shape}")
        matrices = np.asarray(predicted.detach().double().numpy())
        if not (np.isfinite(matrices).all() and is_rigid(matrices, RIGID_TOLERANCE)):
            raise UserError(f"{path}: what it returns are no rigid poses; rotations must be orthonormal")
        return matrices

    return poses


def pose_network_measures(view: View, command: CommandedCamera, network: PoseNetwork | None) -> list[Measure]:
    """Over ``GAP`` frames: rotation off the command (deg, RMS), and its direction of translation (deg, median)."""
    names = ("pose_network_rotation", "pose_network_translation")
    if network is None:
        return [make_unmeasurable(name, NO_POSE_NETWORK) for name in names]
    seen = network(view.frames)
    rotation_errors, direction_errors = [], []
    for first in range(view.num_frames - GAP):
        frames = (first, first + GAP)
        a_to_b = inverse(seen[first + GAP]) @ seen[first]
        motion = command.motion(*frames)
        rotation_error = np.linalg.norm(cv2.Rodrigues(a_to_b[:3, :3] @ motion.rotation.T)[0])
        rotation_errors.append(Sample(value=float(np.degrees(rotation_error)), frames=frames))
        if motion.baseline >= MIN_BASELINE_M:
            direction_errors.append(Sample(value=_angle(a_to_b[:3, 3], motion.translation), frames=frames))
    worst = max(rotation_errors, key=lambda sample: sample.value)
    rms = float(np.sqrt(np.mean([sample.value**2 for sample in rotation_errors])))
    return [make_measure(names[0], rms, worst.frames), median_measure(names[1], direction_errors, STATIONARY_EGO)]


def _angle(seen: Array, commanded: Array) -> float:
    """Degrees between two directions; a right angle where the network saw no motion at all."""
    lengths = float(np.linalg.norm(seen) * np.linalg.norm(commanded))
    return float(np.degrees(np.arccos(np.clip(float(seen @ commanded) / max(lengths, 1e-12), -1.0, 1.0))))
