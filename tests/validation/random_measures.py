"""Random measures of good clips."""

import numpy as np

from driveforge.validation.records import Measures, make_measure, make_unmeasurable

NAMES = ("track_epipolar", "pose_yaw", "pose_translation", "object_drift", "object_unsupported", "time_cut")


def draw(rng: np.random.Generator, name: str) -> Measures:
    """A good clip: heavy-tailed values, all larger in difficult clips, some of them missing."""
    hard = rng.lognormal(0, 0.3)
    values = [make_measure(n, min(0.2 * hard * rng.lognormal(0, 0.5), 1.0), (1, 2)) for n in NAMES[:-1]]
    if rng.random() < 0.3:
        values[-1] = make_unmeasurable(NAMES[-2], "no boxes in view")
    return Measures(clip_id=name, values=(*values, make_measure("time_cut", 1 + rng.lognormal(-2, 0.3))))


def draws(seed: int, count: int) -> list[Measures]:
    rng = np.random.default_rng(seed)
    return [draw(rng, f"clip-{seed}-{i}") for i in range(count)]
