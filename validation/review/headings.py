"""The heading of a camera in the image: its epipole, the point that it moves toward or away from."""

import numpy as np

from driveforge.datasets.geometry import Array
from driveforge.validation.camera.pairs import MIN_BASELINE_M
from driveforge.validation.camera.pose_refinement import GAP
from driveforge.validation.views.view import CommandedCamera


def commanded_heading(command: CommandedCamera, frame: int) -> Array | None:
    """The epipole ``(2,)`` px of the commanded motion over the last ``GAP`` frames; None without motion."""
    motion = command.motion(max(0, frame - GAP), frame)
    return project_direction(command, motion.translation) if motion.baseline >= MIN_BASELINE_M else None


def project_direction(command: CommandedCamera, direction: Array) -> Array | None:
    """The intersection of the line along a direction with the image plane; None if they are parallel."""
    point = command.intrinsics @ direction
    return np.asarray(point[:2] / point[2]) if abs(point[2]) > 1e-6 * np.linalg.norm(point) else None
