"""Trackers are exchanged through one door: what they are given, what becomes of their answer, what they refuse."""

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
    """Lucas-Kanade, but every frame it says one more pixel to the right."""

    name = "drifting"

    def track_points(self, view: View, queries: Sequence[QueryPoints]) -> list[TrackedPoints]:
        honest = LucasKanade().track_points(view, queries)
        return [replace(f, points=f.points + _drift(len(f.points), 1.0)) for f in honest]


class Blinking:
    """Every point stays where it is, and is not seen in the second frame of its window."""

    name = "blinking"

    def track_points(self, view: View, queries: Sequence[QueryPoints]) -> list[TrackedPoints]:
        return [_held(one) for one in queries]


class SlidesRight(torch.nn.Module):
    """Called as the authors' predictor of CoTracker3 is: 2 px to the right a frame, out of sight from the fourth on."""

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


def test_what_a_tracker_says_is_what_is_measured(clip: Clip, good: Measures) -> None:
    assert measure(clip, Instruments(tracker=LucasKanade())) == good
    drifting = measure(clip, Instruments(tracker=Drifting()))
    was, became = good["track_epipolar"].value, drifting["track_epipolar"].value
    assert was is not None and became is not None and became > 4 * was
    assert drifting["object_drift"].value > 4 * good["object_drift"].value  # type: ignore[operator]
    assert drifting["time_cut"] == good["time_cut"]


def test_measures_tell_which_tracker_they_were_taken_with(clip: Clip, good: Measures) -> None:
    drifting = measure(clip, Instruments(tracker=Drifting()))
    assert (good.tracker, drifting.tracker) == ("lucas_kanade", "drifting")
    assert [Measures.from_json(m.to_json()).tracker for m in (good, drifting)] == ["lucas_kanade", "drifting"]


def test_a_track_ends_where_its_tracker_gives_it_up(clip: Clip) -> None:
    tracks = track_view(reference_view(clip), None, Blinking())
    first = tracks.background[0]
    assert first.alive[0].all() and not first.alive[1:].any()
    assert first.lost[1].mean() > 0.9 and not first.lost[2:].any()
    assert (first.points == first.points[0]).all()


def test_background_and_objects_come_in_records_of_their_own(clip: Clip) -> None:
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


def test_cotracker_is_asked_window_by_window_and_its_visibility_ends_tracks(clip: Clip) -> None:
    tracks = track_view(reference_view(clip), None, CoTracker(SlidesRight()))
    for window in tracks.background:
        reached = window.points[2, window.alive[2]] - window.points[0, window.alive[2]]
        assert len(reached) and (reached == [4.0, 0.0]).all()
        assert not window.alive[3:].any()


def test_nothing_to_follow_is_no_fault_of_the_tracker(clip: Clip) -> None:
    gray = Clip(scene=clip.scene, frames=np.full_like(clip.frames, 90))
    assert measure(gray, Instruments(tracker=CoTracker(SlidesRight())))["track_epipolar"].reason == "too few tracks (0)"


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.pth: no weights of CoTracker3 there"):
        load_cotracker(tmp_path / "absent.pth")


def test_without_the_package_people_are_told_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    torch.save(SlidesRight(), path)  # a pickled module, which could run anything
    with pytest.raises(UserError, match="not the weights of CoTracker3"):
        load_cotracker(path)


def test_the_genuine_architecture_runs_from_a_file_of_weights(predictor: Any, tmp_path: Path) -> None:
    """Random weights follow nothing, but shapes, units and determinism can be seen."""
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
