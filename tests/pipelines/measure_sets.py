"""Random measures, good and bad, for tests of the gate and its calibration."""

import numpy as np

from driveforge.validation.records import Measures, make_measure, make_unmeasurable


def some_measures(count: int, *, scale: float = 1.0, seed: int = 0, prefix: str = "good") -> list[Measures]:
    """The measures of ``count`` clips, lognormal around typical values times ``scale``."""
    rng = np.random.default_rng(seed)
    return [
        Measures(
            clip_id=f"{prefix}-{number}",
            values=(
                make_measure("track_epipolar", scale * rng.lognormal(0, 0.2)),
                make_measure("pose_yaw", scale * rng.lognormal(0, 0.2)),
                make_measure("time_track_loss", 0.1 * rng.lognormal(0, 0.2)),
                make_unmeasurable("object_residual", "no boxes in view"),
            ),
        )
        for number in range(count)
    ]
