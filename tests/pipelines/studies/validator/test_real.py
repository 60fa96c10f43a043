"""Real footage in the validator study: each half is tested against the other; short recordings are errors."""

from pathlib import Path

import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.folder_source import write_clip_folder
from driveforge.pipelines.inputs.items import list_clips
from driveforge.pipelines.studies.validator import real
from driveforge.pipelines.studies.validator.real import FRAMES, FootageWindow, measure_window, real_section
from tests.pipelines.measure_sets import some_measures
from tests.validation.street import street


def test_each_half_is_evaluated_under_limits_from_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real, "CORRUPTION_TYPES", ("yaw-rate",))
    write_clip_folder(tmp_path, street(num_frames=2 * FRAMES + 2, height=64, width=112, speed=4.0))
    section = real_section([tmp_path], some_measures(120))
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if " half |" in line]
    assert [row[0][-11:] for row in rows] == [" first half", "second half"]
    assert all(row[1] == "2" and all(0 <= int(cell) <= 2 for cell in row[2:7]) for row in rows)
    assert "| yaw-rate, 5 deg/s | 2 | 1.000 |" in section


def test_a_recording_shorter_than_two_windows_is_refused(tmp_path: Path) -> None:
    write_clip_folder(tmp_path, street(num_frames=FRAMES + 3, height=64, width=112))
    with pytest.raises(UserError, match=f"real: street-0 needs {2 * FRAMES} frames"):
        real_section([tmp_path], some_measures(120))


def test_footage_without_a_pose_is_one_of_several_sequences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real, "CORRUPTION_TYPES", ("yaw-rate", "swap"))
    monkeypatch.setattr(real, "MAX_WINDOWS", 2)
    posed = street(num_frames=2 * FRAMES, height=64, width=112, speed=4.0)
    write_clip_folder(tmp_path, posed)
    write_clip_folder(tmp_path, posed.with_scene(clip_id="bare", ego_to_world=None, tracks=()))
    section = real_section([tmp_path], some_measures(120))
    windows = [line.split(" | ")[1] for line in section.splitlines() if line.startswith(("| street-0", "| bare"))]
    assert windows == ["2", "2"]
    assert "| yaw-rate, 5 deg/s | 1 |" in section and "| swap, 3 pairs | 2 |" in section


def test_corruptions_that_do_not_apply_are_left_out(tmp_path: Path) -> None:
    write_clip_folder(tmp_path, street(num_frames=2 * FRAMES, height=64, width=112).with_scene(tracks=()))
    (item,) = list_clips(tmp_path)
    assert (
        measure_window(FootageWindow(item=item, sequence="a", first=3, corruption_type="object-drift", level="mild"))
        is None
    )
    seen = measure_window(FootageWindow(item=item, sequence="a", first=3))
    assert seen is not None and seen.measures["track_epipolar"].value is not None
