"""Point tracks: they follow the motion, exclude objects, and end at occlusions and cuts."""

import cv2
import numpy as np

from driveforge.datasets.scene import Clip
from driveforge.validation.point_tracking.protocol import BACKGROUND
from driveforge.validation.point_tracking.queries import STRIDE, WINDOW
from driveforge.validation.point_tracking.tracks import Tracks, track_view
from driveforge.validation.views.boxes import project_boxes
from driveforge.validation.views.view import reference_view, single_threaded_opencv
from tests.validation.street import street


def track_clip(clip: Clip) -> Tracks:
    """The tracks of the reference view."""
    view = reference_view(clip)
    with single_threaded_opencv():
        return track_view(view, project_boxes(view))


def test_windows_cover_all_frames_and_every_step_occurs_once(clip: Clip) -> None:
    tracks = track_clip(clip)
    assert [w.start for w in tracks.background] == [0, STRIDE, 2 * STRIDE, 3 * STRIDE]
    assert tracks.background[0].length == WINDOW
    assert [w.start + k for k, w in tracks.steps()] == list(range(1, 17))


def test_background_queries_are_off_the_boxes_and_object_queries_on_them(clip: Clip) -> None:
    view = reference_view(clip)
    boxes = project_boxes(view)
    assert boxes is not None
    tracks = track_clip(clip)
    for window in (*tracks.background, *tracks.objects):
        x, y = np.round(window.points[0]).astype(int).T
        inside = boxes.mask(window.start, (96, 160))[y, x] > 0
        assert len(inside) and (inside == (window.box_index != BACKGROUND)).all()


def test_fast_motion_is_tracked() -> None:
    fast = track_clip(street(speed=20.0, num_frames=6))
    first = fast.background[0]
    assert first.alive[1].sum() > 60
    assert np.linalg.norm(first.points[1] - first.points[0], axis=1)[first.alive[1]].max() > 8


def test_a_lost_track_stays_lost_and_a_cut_loses_most(clip: Clip) -> None:
    frames = np.concatenate([clip.frames[:, :3], street(seed=1).frames[:, 3:]], 1)
    window = track_clip(Clip(scene=clip.scene, frames=frames)).background[0]
    assert window.lost[3].sum() > 0.5 * window.alive[2].sum()
    assert (np.diff(window.alive.astype(int), axis=0) <= 0).all()


def test_the_number_of_opencv_threads_is_restored() -> None:
    before = cv2.getNumThreads()
    with single_threaded_opencv():
        assert cv2.getNumThreads() == 1
    assert cv2.getNumThreads() == before
