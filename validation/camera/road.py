"""The patch of road in front of a camera: its position, and its appearance in two frames."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from driveforge.datasets.geometry import Array, inverse, project
from driveforge.validation.point_tracking.protocol import Mask
from driveforge.validation.views.boxes import Boxes
from driveforge.validation.views.pixels import blur_scale
from driveforge.validation.views.view import CameraMotion, CommandedCamera, View

# Extent of the patch along the camera's view and to either side, meters.
NEAREST_M, FARTHEST_M, HALF_WIDTH_M = 4.5, 18.0, 2.4
ROWS, COLUMNS = 48, 28
TARGET_BASELINE_M, MIN_BASELINE_M = 1.6, 0.5
MAX_GAP, STRIDE = 6, 2  # frames


def road_pairs(command: CommandedCamera) -> list[tuple[int, int]]:
    """(near, far) frames with a sufficient baseline; the camera is closer to the patch of road in ``near``.

    For a camera that moves forward, ``near`` is the later frame.
    """
    centers, pairs = command.camera_to_world[:, :3, 3], []
    for a in range(0, len(centers) - 1, STRIDE):
        baselines = np.linalg.norm(centers[a + 1 : a + 1 + MAX_GAP] - centers[a], axis=1)
        far_enough = np.flatnonzero(baselines >= TARGET_BASELINE_M)
        gap = int(far_enough[0]) if len(far_enough) else len(baselines) - 1
        if baselines[gap] >= MIN_BASELINE_M:
            b = a + 1 + gap
            pairs.append((b, a) if command.motion(a, b).translation[2] < 0 else (a, b))
    return pairs


def heading_direction(command: CommandedCamera, near: int, far: int) -> Array:
    """Unit vector ``(3,)`` of the commanded motion from the earlier to the later frame, in coordinates of ``near``."""
    towards = inverse(command.camera_to_world[near])[:3, :3] @ (
        command.camera_to_world[max(near, far), :3, 3] - command.camera_to_world[min(near, far), :3, 3]
    )
    return np.asarray(towards / np.linalg.norm(towards))


def road_normals(command: CommandedCamera, pairs: Sequence[tuple[int, int]]) -> list[Array]:
    """Unit normals ``(3,)`` of the road in the near camera of every pair.

    A vehicle moves parallel to its road, so the ego's up axis is tilted until the commanded path is level on average
    over all pairs: a pitch error of the calibration of one degree would cause a scale error of seven percent.
    """
    headings = [heading_direction(command, *pair) for pair in pairs]
    ups = [command.up[near] for near, _ in pairs]
    climb = float(np.mean([heading_direction @ up for heading_direction, up in zip(headings, ups, strict=True)]))
    tilted = [up - climb * heading_direction for heading_direction, up in zip(headings, ups, strict=True)]
    return [normal / np.linalg.norm(normal) for normal in tilted]


def ground_axes(normal: Array) -> tuple[Array, Array]:
    """Unit vectors ``(3,)`` in the ground plane, in camera coordinates: the viewing direction, and to its right."""
    ahead = np.array([0.0, 0.0, 1.0]) - normal[2] * normal
    ahead /= max(float(np.linalg.norm(ahead)), 1e-9)
    return ahead, np.cross(ahead, normal)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RoadSlopes:
    """Longitudinal derivatives of gray levels on a patch of road, in two frames.

    ``near`` ``(R, C)`` in the near frame and ``far`` ``(S, R, C)`` in the far one, for every scale of the translation.
    ``seen`` ``(R, C)`` are the cells that are visible in the near frame and, at every scale, in the far frame;
    ``reach`` ``(R,)`` is the distance of a row along the ground over the height of the camera.
    """

    near: Array
    far: Array
    seen: Mask
    reach: Array


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Road:
    """The road in a view, except where ``boxes`` occlude it."""

    view: View
    boxes: Boxes | None

    def slopes(
        self, normal: Array, command: CommandedCamera, motion: CameraMotion, near: int, far: int, scales: Array
    ) -> RoadSlopes:
        """The slopes of the patch with the given ``normal`` ``(3,)`` in the near camera, at ``scales`` ``(S,)``."""
        height = command.height[near]
        patch = _road_patch(normal, height)
        # The points of the patch in the far camera, for every scale of the translation: (S, ROWS, COLUMNS, 3).
        swept = (patch @ motion.rotation.T)[None] + scales[:, None, None, None] * motion.translation
        a, seen_a = self._slope(near, *project(patch[None], command.intrinsics))
        b, seen_b = self._slope(far, *project(swept, command.intrinsics))
        return RoadSlopes(near=a[0], far=b, seen=seen_a[0] & seen_b.all(0), reach=_row_distances()[1:-1] / height)

    def _slope(self, frame: int, pixels: Array, depth: Array) -> tuple[Array, Mask]:
        """Central differences ``(S, ROWS - 2, COLUMNS)`` of gray levels along the road, and which are visible."""
        height, width = self.view.gray.shape[1:]
        blurred = cv2.GaussianBlur(self.view.gray[frame], (0, 0), max(0.8, blur_scale(height, width))).astype(
            np.float32
        )
        maps = pixels.reshape(-1, COLUMNS, 2).astype(np.float32)
        values = cv2.remap(blurred, maps, None, cv2.INTER_LINEAR).reshape(depth.shape)
        inside = (depth > 1.0) & ((pixels >= 1) & (pixels <= [width - 2, height - 2])).all(-1)
        x, y = np.where(inside[..., None], pixels, 0).round().astype(int).transpose(3, 0, 1, 2)
        if self.boxes:
            inside &= self.boxes.mask(frame, (height, width))[y, x] == 0
        return values[:, 2:] - values[:, :-2], inside[:, 2:] & inside[:, 1:-1] & inside[:, :-2]


def _row_distances() -> Array:
    """Distances ``(ROWS,)`` m along the ground: image rows are proportional to the inverse distance."""
    return 1.0 / np.linspace(1.0 / FARTHEST_M, 1.0 / NEAREST_M, ROWS)


def _road_patch(normal: Array, height: float) -> Array:
    """Points ``(ROWS, COLUMNS, 3)`` m of the road in camera coordinates; rows are evenly spaced in the image."""
    ahead, right = ground_axes(normal)
    distance = _row_distances()
    aside = np.linspace(-HALF_WIDTH_M, HALF_WIDTH_M, COLUMNS)
    return np.asarray(-height * normal + distance[:, None, None] * ahead + aside[:, None] * right)
