"""A contact sheet shows the given frames at their places."""

from pathlib import Path

import cv2
import numpy as np

from driveforge.pipelines.plots.contact_sheet import SheetRow, render_contact_sheet, write_png


def test_the_first_and_last_frames_are_at_the_ends(tmp_path: Path) -> None:
    frames = np.zeros((9, 20, 30, 3), np.uint8)
    frames[0], frames[-1] = (200, 0, 0), (0, 0, 200)
    sheet = render_contact_sheet(
        [SheetRow(caption="one", frames=frames), SheetRow(caption="two", frames=frames[::-1])], 3, 1, columns=2
    )
    assert sheet[5, 5].tolist() == [200, 0, 0]
    assert sheet[5, 2 * (30 + 4) + 5].tolist() == [0, 0, 200]
    assert sheet[5, -5].tolist() == [200, 0, 0], "the second row of the sheet runs backwards"
    write_png(tmp_path / "folder" / "sheet.png", sheet)
    assert np.array_equal(cv2.imread(str(tmp_path / "folder" / "sheet.png"))[..., ::-1], sheet)
