"""The camera motion that a learned pose network predicts, compared with the command.

The network gets only the frames, so it is independent of our tracks. Its world frame and scale are arbitrary: only
relative rotations and directions of relative translations are compared.
"""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.errors import UserError
from driveforge.datasets.geometry import Array, inverse, is_rigid
from driveforge.validation.camera.pairs import MIN_BASELINE_M
from driveforge.validation.camera.tracked_view import TrackedView
from driveforge.validation.instruments import PoseNetwork
from driveforge.validation.local_weights import load_torchscript
from driveforge.validation.measure_tables.pose import NO_POSE_NETWORK
from driveforge.validation.records import (
    STATIONARY_EGO,
    Measure,
    Sample,
    make_measure,
    make_unmeasurable,
    median_measure,
)

GAP = 4  # frames, as in pose_refinement
RIGID_TOLERANCE = 1e-2


def load_pose_network(path: Path) -> PoseNetwork:
    """Load a TorchScript file: frames ``(T, 3, H, W)`` float32 in 0..1 to camera-to-world poses ``(T, 4, 4)``.

    To use a published network (VGGT, DUSt3R, ...), wrap it in a module that resizes the frames and converts its
    prediction to camera-to-world matrices. A TorchScript file is executed: give only files that you trust. Raises
    UserError if there is no such file; the loaded network raises it if it fails or does not return poses.
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
            raise UserError(f"{path}: its output is not a rigid pose; rotations must be orthonormal")
        return matrices

    return poses


def pose_network_measures(tracked: TrackedView) -> list[Measure]:
    """Errors over ``GAP`` frames: rotation (deg, RMS) and direction of the translation (deg, median)."""
    names = ("pose_network_rotation", "pose_network_translation")
    view, command, network = tracked.view, tracked.command, tracked.instruments.pose_network
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
    """Angle between two directions in degrees; 90 if the network predicts no motion at all."""
    lengths = float(np.linalg.norm(seen) * np.linalg.norm(commanded))
    return float(np.degrees(np.arccos(np.clip(float(seen @ commanded) / max(lengths, 1e-12), -1.0, 1.0))))
