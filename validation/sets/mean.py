"""The mean over a set of what is measured clip by clip, under a protocol like any number of a set."""

from collections.abc import Callable

import numpy as np

from driveforge.datasets.errors import UserError
from driveforge.datasets.geometry import Array
from driveforge.datasets.scene import Clip
from driveforge.validation.records import Measure
from driveforge.validation.set_metrics.features import Extractor, FeatureSet
from driveforge.validation.set_metrics.protocol import SetResult


def measure_extractor(name: str, hash: str, measure: Callable[[Clip], Measure]) -> Extractor:
    """One number a clip. ``hash`` is of what decides it: ``code_hash`` of its module, ``files_hash`` of its weights.

    A clip that cannot be measured raises a UserError with the reason: a mean over those that can be would flatter.
    """

    def embed(clip: Clip) -> Array:
        taken = measure(clip)
        if taken.value is None:
            raise UserError(f"{clip.scene.clip_id}: {name} cannot be measured ({taken.why}); take the clip out")
        return np.array([[taken.value]])

    return Extractor(name=name, hash=hash, embed=embed)


def set_mean(features: FeatureSet, measure: str) -> SetResult:
    """The mean of all numbers of a set that was made with ``measure_extractor``."""
    return SetResult(value=float(features.values.mean()), protocol=features.protocol(measure))
