"""Segmentation of the regions of a clip that move in the world, apart from the motion of the camera."""

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import Array
from driveforge.datasets.scene import Clip
from driveforge.finetune.evaluation.targets import STATIC_SPEED_M_S, compute_speeds
from driveforge.validation.views.boxes import Boxes, project_boxes
from driveforge.validation.views.flow import Flow, dis_flow, is_visible
from driveforge.validation.views.view import REFERENCE_ROWS, View, reference_view, single_threaded_opencv

FLOW_GAP = 2  # frames between the images of a flow: slow objects have moved enough, and most are still visible
GRID_STEP = 10  # px between the points that the camera motion is fitted to
MOTION_THRESHOLD_PX = 1.6  # in an image of 256 rows
MIN_HOMOGRAPHY_INLIERS = 0.8

Mask = NDArray[np.bool_]


def segment_moving_pixels(clip: Clip) -> Mask:
    """The moving pixels ``(T, H, W)`` of the reference view.

    With boxes and a pose: the boxes of tracks that are faster than ``STATIC_SPEED_M_S`` in the frame, except where a
    nearer box occludes them. Otherwise: where dense flow over ``FLOW_GAP`` frames of images scaled to 256 rows, visible
    in both directions, differs from the camera motion. The camera motion is a homography if one explains
    ``MIN_HOMOGRAPHY_INLIERS`` of the image (a camera that is static or rotates, or a plane), else the epipolar geometry
    of most points; then an object that moves along its epipolar lines, such as one that overtakes, is not detected.
    The choice of the model follows Torr, "Geometric motion segmentation and model selection" (1998).
    """
    view = reference_view(clip)
    boxes = project_boxes(view)
    if boxes is not None:
        return _mask_from_tracks(view, boxes)
    with single_threaded_opencv():
        return _mask_from_flow(view)


def _mask_from_tracks(view: View, boxes: Boxes) -> Mask:
    is_moving = np.stack([compute_speeds(track, view.timestamps) > STATIC_SPEED_M_S for track in view.tracks])
    out = np.zeros(view.gray.shape, np.uint8)
    for t, image in enumerate(out):
        for n in np.argsort(-boxes.distance[t]):  # from far to near: a nearer box overwrites what it occludes
            hull = boxes.hulls[t][n]
            if hull is not None:
                cv2.fillConvexPoly(image, hull, int(is_moving[n, t]))
    return out > 0


def _mask_from_flow(view: View) -> Mask:
    num_frames, (height, width) = view.num_frames, view.gray.shape[1:]
    size = (round(width * view.scale), REFERENCE_ROWS)
    frames = [cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC) for frame in view.frames]
    out = np.zeros((num_frames, height, width), np.bool_)
    gap = min(FLOW_GAP, num_frames - 1)
    for t in range(num_frames if gap else 0):
        other = t + gap if t + gap < num_frames else t - gap
        forward, backward = dis_flow(frames[t], frames[other]), dis_flow(frames[other], frames[t])
        is_moving = (_compute_flow_residual(forward) > MOTION_THRESHOLD_PX) & is_visible(forward, backward)
        opened = cv2.morphologyEx(is_moving.astype(np.uint8), cv2.MORPH_OPEN, np.ones((7, 7), np.uint8))
        out[t] = cv2.resize(opened, (width, height), interpolation=cv2.INTER_AREA) > 0
    return out


def _compute_flow_residual(flow: Flow) -> Array:
    """Distance ``(H, W)`` px of a flow from the camera motion that fits most of it."""
    height, width = flow.shape[:2]
    # Homogeneous pixel coordinates before and after the flow.
    x, y = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
    start = np.stack([x, y, np.ones_like(x)], -1)
    end = start + np.concatenate([flow, np.zeros((height, width, 1), np.float32)], -1)
    grid = np.s_[GRID_STEP // 2 :: GRID_STEP, GRID_STEP // 2 :: GRID_STEP]
    a, b = (points[grid].reshape(-1, 3)[:, :2].copy() for points in (start, end))
    homography, inliers = cv2.findHomography(a, b, cv2.RANSAC, MOTION_THRESHOLD_PX)
    fundamental = None
    if homography is None or inliers.mean() < MIN_HOMOGRAPHY_INLIERS:
        fundamental, _ = cv2.findFundamentalMat(a, b, cv2.FM_RANSAC, MOTION_THRESHOLD_PX, 0.99)
    if fundamental is not None and fundamental.shape == (3, 3):
        return _sampson(fundamental, start, end)
    if homography is None:
        return np.zeros((height, width))
    projected = start @ homography.T
    return np.asarray(np.linalg.norm(projected[..., :2] / projected[..., 2:] - end[..., :2], axis=-1))


def _sampson(fundamental: Array, start: Array, end: Array) -> Array:
    """Sampson distance px to the epipolar constraint, of first order (Hartley and Zisserman 2004, eq. 11.9)."""
    end_line, start_line = start @ fundamental.T, end @ fundamental  # the epipolar lines F x and F^T x'
    gradient = (end_line[..., :2] ** 2).sum(-1) + (start_line[..., :2] ** 2).sum(-1)
    return np.asarray(np.abs((end * end_line).sum(-1)) / np.sqrt(np.maximum(gradient, 1e-12)))
