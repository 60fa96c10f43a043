"""The tracker interface: its inputs, the use of its results, and its errors."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Clip
from driveforge.validation.instruments import Instruments
from driveforge.validation.measures import measure
from driveforge.validation.point_tracking.cotracker import CoTracker, load_cotracker, untrained_predictor
from driveforge.validation.point_tracking.lucas_kanade import LucasKanade
from driveforge.validation.point_tracking.protocol import BACKGROUND, QueryPoints, TrackedPoints
from driveforge.validation.point_tracking.tracks import track_view
from driveforge.validation.records import Measures
from driveforge.validation.views.boxes import project_boxes
from driveforge.validation.views.view import View, reference_view
from tests.validation.street import street


class Drifting:
    """Lucas-Kanade with an additional drift of one pixel to the right per frame."""

    name = "drifting"

    def track_points(self, view: View, queries: Sequence[QueryPoints]) -> list[TrackedPoints]:
        tracked = LucasKanade().track_points(view, queries)
        return [replace(f, points=f.points + _drift(len(f.points), 1.0)) for f in tracked]


class Blinking:
    """Every point stays in place and is not visible in the second frame of its window."""

    name = "blinking"

    def track_points(self, view: View, queries: Sequence[QueryPoints]) -> list[TrackedPoints]:
        return [_held(one) for one in queries]


class SlidesRight(torch.nn.Module):
    """The interface of CoTracker3's predictor: 2 px to the right per frame, not visible from the fourth frame on."""

    def forward(self, video: torch.Tensor, queries: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        assert video.shape[0] == queries.shape[0] == 1 and video.shape[2] == queries.shape[2] == 3
        assert video.dtype == torch.float32 and video.max() > 1
        assert (queries[..., 0] == 0).all()
        steps = torch.arange(video.shape[1])[None, :, None]
        tracks = queries[:, None, :, 1:].repeat(1, video.shape[1], 1, 1)
        tracks[..., 0] += 2 * steps
        return tracks, (steps < 3).expand(tracks.shape[:3])


def _drift(length: int, pixels: float) -> np.ndarray:
    return np.float32(pixels) * np.stack([np.arange(length), np.zeros(length)], -1, dtype=np.float32)[:, None]


def _held(queries: QueryPoints) -> TrackedPoints:
    visible = np.ones((queries.length, len(queries.points)), bool)
    visible[1] = False
    return TrackedPoints(points=np.repeat(queries.points[None], queries.length, 0), visible=visible)


def test_measures_use_the_tracks_of_the_given_tracker(clip: Clip, good: Measures) -> None:
    assert measure(clip, Instruments(tracker=LucasKanade())) == good
    drifting = measure(clip, Instruments(tracker=Drifting()))
    was, became = good["track_epipolar"].value, drifting["track_epipolar"].value
    assert was is not None and became is not None and became > 4 * was
    assert drifting["object_drift"].value > 4 * good["object_drift"].value  # type: ignore[operator]
    assert drifting["time_cut"] == good["time_cut"]


def test_measures_name_their_tracker(clip: Clip, good: Measures) -> None:
    drifting = measure(clip, Instruments(tracker=Drifting()))
    assert (good.tracker, drifting.tracker) == ("lucas_kanade", "drifting")
    assert [Measures.from_json(m.to_json()).tracker for m in (good, drifting)] == ["lucas_kanade", "drifting"]


def test_a_track_ends_where_it_is_not_visible(clip: Clip) -> None:
    tracks = track_view(reference_view(clip), None, Blinking())
    first = tracks.background[0]
    assert first.alive[0].all() and not first.alive[1:].any()
    assert first.lost[1].mean() > 0.9 and not first.lost[2:].any()
    assert (first.points == first.points[0]).all()


def test_background_and_objects_are_separate_queries(clip: Clip) -> None:
    given: list[QueryPoints] = []

    class Noting:
        name = "noting"

        def track_points(self, view: View, queries: Sequence[QueryPoints]) -> list[TrackedPoints]:
            given.extend(queries)
            return LucasKanade().track_points(view, queries)

    view = reference_view(clip)
    assert view.frames.shape == (*view.gray.shape, 3)
    tracks = track_view(view, project_boxes(view), Noting())
    kinds = [one.is_on_objects for one in given]
    assert kinds == [False] * len(tracks.background) + [True] * len(tracks.objects)
    assert all((one.box_index == BACKGROUND).all() != one.is_on_objects for one in given)


def test_cotracker_is_called_per_window_and_its_visibility_ends_tracks(clip: Clip) -> None:
    tracks = track_view(reference_view(clip), None, CoTracker(SlidesRight()))
    for window in tracks.background:
        reached = window.points[2, window.alive[2]] - window.points[0, window.alive[2]]
        assert len(reached) and (reached == [4.0, 0.0]).all()
        assert not window.alive[3:].any()


def test_queries_without_points_are_not_passed_to_the_tracker(clip: Clip) -> None:
    gray = Clip(scene=clip.scene, frames=np.full_like(clip.frames, 90))
    assert measure(gray, Instruments(tracker=CoTracker(SlidesRight())))["track_epipolar"].reason == "too few tracks (0)"


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.pth: no weights of CoTracker3 at this path"):
        load_cotracker(tmp_path / "absent.pth")


def test_without_the_package_the_error_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cotracker.predictor", None)
    (tmp_path / "weights.pth").write_bytes(b"")
    with pytest.raises(UserError, match=r"pip install --no-deps \./co-tracker"):
        load_cotracker(tmp_path / "weights.pth")


@pytest.fixture(scope="module")
def predictor() -> Any:
    pytest.importorskip("cotracker", reason="CoTracker3 is installed from a clone of its repository")
    return untrained_predictor()


def test_wrong_weights_are_refused(predictor: Any, tmp_path: Path) -> None:
    path = tmp_path / "wrong.pth"
    for wrong in ({"layer.weight": torch.zeros(3)}, torch.zeros(3), {"model": "text"}):
        torch.save(wrong, path)
        with pytest.raises(UserError, match=r"wrong\.pth: not the weights of CoTracker3"):
            load_cotracker(path)
    path.write_text("no archive")
    with pytest.raises(UserError, match="not the weights of CoTracker3"):
        load_cotracker(path)
    torch.save(SlidesRight(), path)  # a pickled module, which could execute code
    with pytest.raises(UserError, match="not the weights of CoTracker3"):
        load_cotracker(path)


def test_the_original_architecture_runs_from_a_weights_file(predictor: Any, tmp_path: Path) -> None:
    """Random weights do not track anything, but shapes, units and determinism can be checked."""
    torch.save(predictor.model.state_dict(), tmp_path / "weights.pth")
    state = torch.random.get_rng_state()
    tracker = load_cotracker(tmp_path / "weights.pth")
    assert torch.equal(torch.random.get_rng_state(), state)
    view = reference_view(street(num_frames=6))
    queries = QueryPoints(
        start=2, length=2, points=np.float32([[30.5, 40], [80, 60]]), box_index=np.full(2, BACKGROUND)
    )
    (followed,), (again,) = tracker.track_points(view, [queries]), tracker.track_points(view, [queries])
    assert followed.points.shape == (2, 2, 2) and followed.points.dtype == np.float32
    assert followed.points[0] == pytest.approx(queries.points, abs=1e-3)
    assert followed.visible.shape == (2, 2) and followed.visible[0].all()
    assert (followed.points == again.points).all() and np.isfinite(followed.points).all()
