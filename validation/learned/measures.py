"""Artifacts of generators on vehicles, as a small network rates them.

The network is trained on simulated crops only (``pipelines/studies/artifacts``). The value is -log(1 - p), with p the
probability of artifacts: softplus of the logit, in nats.
"""

from collections.abc import Sequence
from itertools import groupby

import numpy as np

from driveforge.datasets.geometry import Array
from driveforge.validation.camera.tracked_view import TrackedView
from driveforge.validation.learned.crops import Crop, object_crops
from driveforge.validation.measure_tables.learned import LEARNED_OFF
from driveforge.validation.records import NO_BOXES, SMALL_BOXES, Measure, Sample, make_unmeasurable, worst_measure
from driveforge.validation.views.categories import is_person

NAME = "object_artifacts"


def artifact_measure(tracked: TrackedView) -> Measure:
    """The worst vehicle, by the mean logit of its crops in later frames."""
    view, boxes, weights = tracked.view, tracked.boxes, tracked.instruments.artifact_weights
    if weights is None:
        return make_unmeasurable(NAME, LEARNED_OFF)
    # torch takes seconds to import.
    from driveforge.validation.learned.network import load_artifact_network, rate_crops

    vehicles = [n for n, track in enumerate(view.tracks) if not is_person(track)]
    if boxes is None or not vehicles:
        return make_unmeasurable(NAME, view.reason or NO_BOXES)
    crops = object_crops(view, boxes, vehicles)
    logits = rate_crops(load_artifact_network(weights), crops)
    return worst_measure(NAME, _samples_by_object(tracked, crops, logits), SMALL_BOXES)


def _samples_by_object(tracked: TrackedView, crops: Sequence[Crop], logits: Array) -> list[Sample]:
    """The value of each object; its crops follow each other."""
    samples = []
    for number, group in groupby(range(len(crops)), lambda n: crops[n].track):
        found = list(group)
        assert number is not None, "crops of objects name their track"
        samples.append(
            Sample(
                # Softplus without overflow.
                value=float(np.logaddexp(0.0, logits[found].mean())),
                frames=(crops[found[0]].frame, crops[found[-1]].frame),
                track=tracked.view.tracks[number].id,
            )
        )
    return samples
