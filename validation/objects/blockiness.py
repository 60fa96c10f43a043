"""Whether a vehicle is made of blocks: the picture changes more across the lines of a grid than between them.

What a video model cannot draw comes out as cells of its VAE that do not fit together. Boxes that the picture's edge
cuts are judged too, since vehicles melt where they come near. Blocking measured as the difference across block
boundaries over that inside blocks follows Wang, Bovik and Evans 2000 (doi 10.1109/ICIP.2000.899622).
"""

import numpy as np

from datasets.geometry import Array
from validation.records import Sample
from validation.views.boxes import Boxes
from validation.views.view import View

# Cells of video VAEs and blocks of H.264 are 8 px wide, or twice that.
GRID_PX = 8
MIN_AREA = 0.005  # of the picture
MIN_FRAMES = 4
MIN_STEPS = 60  # across the grid; fewer tell nothing
MIN_STEP = 0.5  # grey levels: a flat surface has no steps to compare with


def blockiness(view: View, boxes: Boxes, track: int) -> Sample | None:
    """Mean grey step across the grid's lines over that elsewhere, in the later half of a vehicle's time in view.

    The later half, since a model that begins from a first frame draws worse the further it gets from it.
    """
    steps = {t: found for t in range(len(view.grey)) if (found := _steps(view, boxes, t, track)) is not None}
    if len(steps) < MIN_FRAMES:
        return None
    later = sorted(steps)[len(steps) // 2 :]
    (on_lines, elsewhere), (num_on_lines, num_elsewhere) = np.sum([steps[t] for t in later], axis=0)
    if min(num_on_lines, num_elsewhere) < MIN_STEPS:
        return None
    ratio = (on_lines / num_on_lines) / max(elsewhere / num_elsewhere, MIN_STEP)
    return Sample(value=float(ratio), frames=(later[0], later[-1]))


def _steps(view: View, boxes: Boxes, frame: int, track: int) -> Array | None:
    """Sums and counts ``(2, 2)`` of grey steps on the grid's lines and off them; None where too little is in view."""
    if boxes.hulls[frame][track] is None:
        return None
    grey = view.grey[frame].astype(np.float32)
    inside = boxes.mask_of(frame, track, (grey.shape[0], grey.shape[1])) > 0
    if inside.mean() < MIN_AREA:
        return None
    total = np.zeros((2, 2))
    for image, mask in ((grey, inside), (grey.T, inside.T)):
        steps, both = np.abs(np.diff(image, axis=0)), mask[1:] & mask[:-1]
        on_line = np.arange(1, len(image)) % GRID_PX == 0
        for column, rows in enumerate((on_line, ~on_line)):
            chosen = both[rows]
            total[:, column] += steps[rows][chosen].sum(), chosen.sum()
    return total
