"""Recordings of the downstream study, what a perfect generator makes of an edited one, and their labels."""

from pathlib import Path

import numpy as np
import pytest

from driveforge.datasets.edits import edit_scene
from driveforge.datasets.scene import Clip, Scene
from driveforge.pipelines.studies.detector.images import PERSON, VEHICLE
from driveforge.pipelines.studies.downstream.drives import Drive, load_clip, record, simulate_command, store_clip
from driveforge.pipelines.studies.downstream.labels import LINE, UNKNOWN, annotate, label_frames
from driveforge.pipelines.studies.downstream.networks import lane_cells
from tests.datasets.small_clips import bare_clip, small_clip

DRIVE = Drive(seed=5, number=4)


@pytest.fixture(scope="module")
def recorded() -> Clip:
    return record(DRIVE)


def test_the_simulator_renders_the_same_pixels_for_the_recorded_command(recorded: Clip) -> None:
    again = simulate_command(DRIVE, edit_scene(DRIVE.scene(), "as-recorded"))
    difference = np.abs(again.frames.astype(int) - recorded.frames)
    assert (difference > 8).mean() < 0.001, "only the last bits of poses may differ"


def vehicle_shift(edited: Scene, original: Scene) -> str:
    (moved,) = (
        track.id
        for track, before in zip(edited.tracks, original.tracks, strict=True)
        if not np.allclose(track.box_to_world, before.box_to_world)
    )
    return moved


def test_an_edited_command_moves_the_vehicle_the_ego_and_the_light(recorded: Clip) -> None:
    scene = DRIVE.scene()
    shifted = simulate_command(DRIVE, edit_scene(scene, "agent-shifts"))
    changed = np.abs(shifted.frames[0].astype(int) - recorded.frames[0]).max(-1) > 40
    assert not changed[0].any() and changed[-1].any(), "an edit keeps the first frame"
    only = shifted.with_scene(
        tracks=tuple(t for t in shifted.scene.tracks if t.id == vehicle_shift(shifted.scene, scene))
    )
    x0, y0, x1, y1 = label_frames(only)[-1].boxes[0].round().astype(int)
    assert changed[-1, y0:y1, x0:x1].mean() > 3 * changed[-1].mean()
    slower = simulate_command(DRIVE, edit_scene(scene, "slower"))
    assert np.abs(slower.frames[0, -1].astype(int) - recorded.frames[0, -1]).mean() > 5
    dark = simulate_command(DRIVE, edit_scene(scene, "rain" if DRIVE.domain.endswith("dusk") else "dusk"))
    assert np.abs(dark.frames[0, 0].mean() - recorded.frames[0, 0].mean()) > 10


def test_a_stored_clip_is_read_with_its_metadata(tmp_path: Path) -> None:
    clip = small_clip()
    store_clip(tmp_path / "a" / "clip.tar", clip, {"edit": "slower"})
    loaded, metadata = load_clip(tmp_path / "a" / "clip.tar")
    assert metadata == {"edit": "slower"} and loaded.scene.clip_id == clip.scene.clip_id
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["clip.tar"]


def test_boxes_are_labeled_where_they_are_visible() -> None:
    frames = label_frames(small_clip(num_frames=9))
    assert len(frames) == 9 and frames[-1].labels.tolist() == [VEHICLE]
    assert set(frames[0].labels.tolist()) <= {VEHICLE, PERSON}
    assert frames[0].distances[0] == pytest.approx(10.6, abs=0.2)
    x0, y0, x1, y1 = frames[-1].boxes[0]
    assert 0 <= x0 < x1 <= 79 and 0 <= y0 < y1 <= 47 and frames[-1].clear.all()


def test_lanes_are_unknown_behind_boxes() -> None:
    frame = label_frames(small_clip())[-1]
    assert {LINE, UNKNOWN, 0} == set(np.unique(frame.lanes).tolist())
    x0, y0, x1, y1 = frame.boxes[0].round().astype(int)
    assert (frame.lanes[(y0 + y1) // 2, (x0 + x1) // 2]) == UNKNOWN and frame.lanes[0, 0] == 0


def test_a_clip_without_poses_is_refused_by_its_lanes() -> None:
    with pytest.raises(ValueError, match="has no pose"):
        label_frames(bare_clip())


def test_only_objects_that_the_recording_shows_are_labeled() -> None:
    scene = small_clip(num_frames=9).scene
    recorded = Clip(scene=scene, frames=small_clip(num_frames=9).frames).with_scene(tracks=scene.tracks[1:]).scene
    command = edit_scene(scene, "slower")
    annotated = annotate(command, recorded)
    assert [track.id for track in annotated.tracks] == ["b2"]
    assert annotated.tracks[0].present.tolist() == scene.tracks[1].present.tolist()
    assert np.array_equal(annotated.ego_to_world, command.ego_to_world)


def test_a_cell_is_unknown_before_it_is_line() -> None:
    lanes = np.zeros((4, 12), np.uint8)
    lanes[0, 4], lanes[1, 8], lanes[2, 9] = LINE, LINE, UNKNOWN
    assert lane_cells(lanes).tolist() == [[0, LINE, UNKNOWN]]
