"""The COLMAP check: the path of a good clip is reconstructed, and a wrong command deviates from it."""

import sys

import numpy as np
import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Clip
from driveforge.validation.camera.colmap_check import colmap_measures, map_frames, path_errors, require_pycolmap
from driveforge.validation.camera.tracked_view import TrackedView
from driveforge.validation.instruments import Instruments
from driveforge.validation.measure_tables.pose import NO_COLMAP_CHECK, TOO_FEW_ROWS
from driveforge.validation.point_tracking.tracks import Tracks
from driveforge.validation.records import STATIONARY_EGO, Measures
from driveforge.validation.views.boxes import project_boxes
from driveforge.validation.views.view import View, reference_view
from tests.validation.street import street

NAMES = ("pose_map_unregistered", "pose_map_path")


def colmap_values(clip: Clip) -> dict[str, float | None]:
    return {m.name: m.value for m in colmap_measures(untracked(reference_view(clip), enabled=True))}


def reasons(view: View, *, enabled: bool) -> list[str]:
    return [m.reason for m in colmap_measures(untracked(view, enabled=enabled))]


def untracked(view: View, *, enabled: bool) -> TrackedView:
    """The input of a measure that uses no point tracks."""
    return TrackedView(
        view=view,
        boxes=project_boxes(view),
        tracks=Tracks(background=(), objects=()),
        instruments=Instruments(colmap_check=enabled),
    )


def test_the_check_runs_only_if_enabled_and_applicable(clip: Clip, good: Measures) -> None:
    assert [good[name].reason for name in NAMES] == [NO_COLMAP_CHECK] * 2
    assert reasons(reference_view(clip), enabled=False) == [NO_COLMAP_CHECK] * 2
    assert reasons(reference_view(clip), enabled=True) == [TOO_FEW_ROWS] * 2
    stationary_pairs = street(height=256, width=448, num_frames=5, speed=0.0)
    assert reasons(reference_view(stationary_pairs), enabled=True) == [STATIONARY_EGO] * 2


def test_a_path_is_compared_after_the_best_similarity() -> None:
    rng = np.random.default_rng(0)
    path = rng.normal(size=(12, 3)) * [8.0, 2.0, 0.3]
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    assert path_errors(0.2 * path @ turn.T + [5, -3, 1], path) == pytest.approx(0, abs=1e-9)
    bent = path.copy()
    bent[6] += [0.0, 0.0, 1.0]
    command_residuals = path_errors(bent, path)
    assert np.argmax(command_residuals) == 6 and 0.4 < command_residuals[6] < 1.0
    mirrored = path * [1.0, 1.0, -1.0]
    assert path_errors(mirrored, path).max() > 0.1


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycolmap", None)
    with pytest.raises(UserError, match=r"pip install \"driveforge\[colmap\]\""):
        require_pycolmap()


@pytest.mark.slow
def test_a_good_clip_maps_onto_its_command_and_a_wrong_path_does_not() -> None:
    pytest.importorskip("pycolmap", reason="the COLMAP check needs the extra driveforge[colmap]")
    clip = street(height=256, width=448, num_frames=12)
    view = reference_view(clip)
    assert view.command is not None
    centers = map_frames(view, view.command, project_boxes(view))
    assert sorted(centers) == list(range(12))
    found = np.stack([centers[t] for t in range(12)])

    def error(ego_to_world: np.ndarray) -> float:
        command = reference_view(clip.with_scene(ego_to_world=ego_to_world)).command
        assert command is not None
        return float(np.sqrt((path_errors(found, command.camera_to_world[:, :3, 3]) ** 2).mean()))

    true = clip.scene.ego_to_world
    weaving, braking = true.copy(), true.copy()
    weaving[:, 1, 3] += 0.3 * np.sin(np.arange(12))
    braking[6:, :3, 3] = true[6, :3, 3] + 0.5 * (true[6:, :3, 3] - true[6, :3, 3])
    assert error(true) < 0.02
    assert error(weaving) > 0.1
    assert error(braking) > 0.2


@pytest.mark.slow
def test_frames_of_another_place_are_not_registered() -> None:
    pytest.importorskip("pycolmap", reason="the COLMAP check needs the extra driveforge[colmap]")
    clip = street(height=256, width=448, num_frames=10)
    other = street(height=256, width=448, num_frames=10, seed=1)
    cut = Clip(scene=clip.scene, frames=np.concatenate([clip.frames[:, :7], other.frames[:, 7:]], 1))
    found = colmap_values(cut)
    assert found["pose_map_unregistered"] == pytest.approx(0.3)


@pytest.mark.real
@pytest.mark.slow
def test_a_real_path_is_found_to_centimeters(kitti: Clip) -> None:
    pytest.importorskip("pycolmap", reason="the COLMAP check needs the extra driveforge[colmap]")
    found = colmap_values(kitti)
    assert found["pose_map_unregistered"] == 0.0
    assert found["pose_map_path"] is not None and found["pose_map_path"] < 0.1
