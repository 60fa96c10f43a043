"""The COLMAP check: structure from motion on the frames, and its camera path compared with the commanded one.

It is slow (about ten CPU-seconds per camera), so it is optional. It needs images of 256 rows: smaller ones often split
into several maps. Boxes are masked out; the command provides only the intrinsics. At night there are often too few
points, and with most texture on sky and road the map of a good clip may be bent.

Sources: Schönberger and Frahm, "Structure-from-motion revisited" (CVPR 2016); Umeyama, "Least-squares estimation of
transformation parameters" (PAMI 1991); the error is that of Sturm et al., "A benchmark for RGB-D SLAM" (IROS 2012).
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from driveforge.datasets.errors import UserError
from driveforge.datasets.geometry import Array
from driveforge.validation.camera.tracked_view import TrackedView
from driveforge.validation.measure_tables.pose import NO_COLMAP_CHECK, TOO_FEW_ROWS
from driveforge.validation.records import DEGENERATE, STATIONARY_EGO, Measure, make_measure, make_unmeasurable
from driveforge.validation.views.boxes import Boxes
from driveforge.validation.views.view import CommandedCamera, View

MIN_ROWS = 256
MIN_TRAVEL_M = 2.0  # largest distance from the first frame: without a baseline there is nothing to triangulate
MIN_REGISTERED = 3  # frames; a similarity fits fewer exactly
MIN_POINTS = 15  # map points that a further frame must observe: half of COLMAP's default for photographs
# px. COLMAP's default of 4 px is for photographs: at 256 rows a whole street fits a plane within 4 px.
TOLERANCE_PX = 1.5
NUM_FEATURES = 1024
SEQUENTIAL_OVERLAP = 6  # following frames that each frame is matched with
# Triangulation angle of the first two frames of a map. With a small angle a planar facade is ambiguous, so the small
# angle is tried only if the large one does not register all frames.
INIT_ANGLES_DEG = (16.0, 4.0)
SEED = 0


def colmap_measures(tracked: TrackedView) -> list[Measure]:
    """Share of frames outside the largest map, and RMS distance (m) of its camera path from the commanded one.

    The path is first aligned to the commanded one by the best similarity, since the scale, place and heading of a map
    are arbitrary: errors of speed and heading as a whole are left to other measures. Raises UserError if pycolmap is
    not installed.
    """
    names = ("pose_map_unregistered", "pose_map_path")
    view, command = tracked.view, tracked.command
    if reason := _not_mappable_reason(tracked):
        return [make_unmeasurable(name, reason) for name in names]
    centers = map_frames(view, command, tracked.boxes)
    unregistered_frames = [t for t in range(view.num_frames) if t not in centers]
    unregistered_share = make_measure(names[0], len(unregistered_frames) / view.num_frames, unregistered_frames)
    if len(centers) < MIN_REGISTERED:
        return [unregistered_share, make_unmeasurable(names[1], DEGENERATE)]
    frames = sorted(centers)
    errors = path_errors(np.stack([centers[t] for t in frames]), command.camera_to_world[frames, :3, 3])
    return [
        unregistered_share,
        make_measure(names[1], float(np.sqrt(np.mean(errors**2))), [frames[int(np.argmax(errors))]]),
    ]


def _not_mappable_reason(tracked: TrackedView) -> str:
    """The reason why no map is computed; empty if one is."""
    if not tracked.instruments.colmap_check:
        return NO_COLMAP_CHECK
    if tracked.view.gray.shape[1] < MIN_ROWS:
        return TOO_FEW_ROWS
    centers = tracked.command.camera_to_world[:, :3, 3]
    travel = np.linalg.norm(centers - centers[0], axis=1).max()
    return STATIONARY_EGO if travel < MIN_TRAVEL_M else ""


def map_frames(view: View, command: CommandedCamera, boxes: Boxes | None) -> Mapping[int, Array]:
    """Camera centers ``(3,)`` by frame, in the world of the largest map; empty if nothing could be mapped."""
    colmap = require_pycolmap()
    with tempfile.TemporaryDirectory(prefix="driveforge-") as scratch:
        folder = Path(scratch)
        database, images, masks, maps = (folder / name for name in ("map.db", "images", "masks", "maps"))
        _write_images(view, boxes, images, masks)
        masked = {"mask_path": masks} if boxes else {}
        maps.mkdir()
        colmap.set_random_seed(SEED)
        colmap.extract_features(
            database,
            images,
            camera_mode=colmap.CameraMode.SINGLE,
            reader_options={"camera_model": "PINHOLE", "camera_params": _camera_params(command), **masked},
            extraction_options={"num_threads": 1, "sift": {"max_num_features": NUM_FEATURES}},
            device=colmap.Device.cpu,
        )
        colmap.match_sequential(
            database,
            matching_options={"num_threads": 1},
            pairing_options={"overlap": SEQUENTIAL_OVERLAP, "quadratic_overlap": False},
            verification_options={"ransac": {"max_error": TOLERANCE_PX, "random_seed": SEED}},
            device=colmap.Device.cpu,
        )
        registered: dict[int, Array] = {}
        for angle in INIT_ANGLES_DEG:
            reconstructions = colmap.incremental_mapping(database, images, maps, options=_mapping_options(angle))
            registered = max([registered, *map(_camera_centers, reconstructions.values())], key=len)
            if len(registered) == view.num_frames:
                break
    return registered


def _camera_centers(reconstruction: Any) -> dict[int, Array]:
    return {int(Path(i.name).stem): i.projection_center() for i in reconstruction.images.values() if i.has_pose}


def path_errors(path: Array, commanded: Array) -> Array:
    """Distances ``(N,)`` m of a path ``(N, 3)`` from the commanded one, after alignment by the best similarity.

    Umeyama's closed form: with the SVD U D V' of the cross-covariance, R = U S V' and s = tr(D S) / variance.
    """
    centered, target = path - path.mean(0), commanded - commanded.mean(0)
    left, spread, right = np.linalg.svd(target.T @ centered)
    upright = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])  # S: a rotation, never a reflection
    scale = (spread * upright).sum() / max(float((centered**2).sum()), 1e-12)
    return np.asarray(np.linalg.norm(target - scale * centered @ ((left * upright) @ right).T, axis=1))


def require_pycolmap() -> Any:
    """The package pycolmap with its log turned off; raises UserError if it is not installed."""
    try:
        import pycolmap
    except ImportError as error:
        raise UserError('validate.colmap_check needs pycolmap: pip install "driveforge[colmap]"') from error
    pycolmap.logging.minloglevel = pycolmap.logging.FATAL.value  # a map that fails is reported as a measure
    return pycolmap


def _mapping_options(init_angle: float) -> dict[str, Any]:
    """A single map with the commanded intrinsics, deterministic."""
    return {
        "num_threads": 1,
        "random_seed": SEED,
        "multiple_models": False,
        "min_model_size": MIN_REGISTERED,
        "extract_colors": False,
        "ba_refine_focal_length": False,
        "ba_refine_extra_params": False,
        "mapper": {
            "init_max_error": TOLERANCE_PX,
            "abs_pose_max_error": 3 * TOLERANCE_PX,
            "filter_max_reproj_error": TOLERANCE_PX,
            "abs_pose_min_num_inliers": MIN_POINTS,
            "abs_pose_refine_focal_length": False,
            "abs_pose_refine_extra_params": False,
            "init_max_forward_motion": 1.0,  # do not exclude forward motion: cars drive straight ahead
            "init_min_tri_angle": init_angle,
        },
    }


def _write_images(view: View, boxes: Boxes | None, images: Path, masks: Path) -> None:
    images.mkdir()
    masks.mkdir()
    for t, gray in enumerate(view.gray):
        name = f"{t:05d}.png"
        cv2.imwrite(str(images / name), gray)
        if boxes:
            cv2.imwrite(str(masks / f"{name}.png"), 255 - boxes.mask(t, (gray.shape[0], gray.shape[1])))


def _camera_params(command: CommandedCamera) -> str:
    """Pinhole parameters; in COLMAP the center of the first pixel is at 0.5."""
    k = command.intrinsics
    return f"{k[0, 0]},{k[1, 1]},{k[0, 2] + 0.5},{k[1, 2] + 0.5}"
