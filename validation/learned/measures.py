"""Artifacts of generators on vehicles and in image regions, as a network rates them.

The network is trained on simulated crops only (``pipelines/studies/artifacts``). A value is -log(1 - p), with p the
probability of artifacts: softplus of the logit, in nats.
"""

import numpy as np

from driveforge.datasets.geometry import Array
from driveforge.validation.camera.tracked_view import TrackedView
from driveforge.validation.learned.crops import Crop, object_crops, region_crops
from driveforge.validation.measure_tables.appearance import LEARNED_OFF
from driveforge.validation.objects.categories import is_person
from driveforge.validation.records import (
    NO_BOXES,
    SMALL_BOXES,
    Measure,
    Sample,
    make_measure,
    make_unmeasurable,
    worst_measure,
)

OBJECT, REGION = "object_artifacts", "region_artifacts"
REGION_QUANTILE = 0.9


def artifact_measures(tracked: TrackedView) -> list[Measure]:
    """The worst vehicle, by the mean logit of its later frames, and the 90 % quantile over regions of later frames."""
    weights = tracked.instruments.artifact_weights
    if weights is None:
        return [make_unmeasurable(name, LEARNED_OFF) for name in (OBJECT, REGION)]
    # torch takes seconds to import.
    from driveforge.validation.learned.network import load_artifact_network, rate_crops

    view, boxes = tracked.view, tracked.boxes
    vehicles = [n for n, track in enumerate(view.tracks) if not is_person(track)]
    objects = object_crops(view, boxes, vehicles) if boxes else []
    regions = region_crops(view)
    logits = rate_crops(load_artifact_network(weights), [*objects, *regions])
    reason = view.reason or (SMALL_BOXES if boxes and vehicles else NO_BOXES)
    samples = _samples_by_object(tracked, objects, logits[: len(objects)])
    return [worst_measure(OBJECT, samples, reason), _region_measure(regions, logits[len(objects) :])]


def _samples_by_object(tracked: TrackedView, crops: list[Crop], logits: Array) -> list[Sample]:
    samples = []
    for number in dict.fromkeys(crop.track for crop in crops):
        assert number is not None, "crops of objects name their track"
        found = [n for n, crop in enumerate(crops) if crop.track == number]
        frames = tuple(crops[n].frame for n in found)
        value = float(softplus(float(logits[found].mean())))
        samples.append(Sample(value=value, frames=(frames[0], frames[-1]), track=tracked.view.tracks[number].id))
    return samples


def _region_measure(crops: list[Crop], logits: Array) -> Measure:
    frames = sorted({crop.frame for crop in crops})
    return make_measure(REGION, float(softplus(float(np.quantile(logits, REGION_QUANTILE)))), (frames[0], frames[-1]))


def softplus(logit: float | Array) -> Array:
    """log(1 + exp(logit)), without overflow."""
    return np.asarray(np.logaddexp(0.0, logit))
