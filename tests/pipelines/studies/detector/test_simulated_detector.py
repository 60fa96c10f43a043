"""The shipped detector on simulated clips that it was not trained on."""

import json

import pytest

from driveforge.datasets.scene import Clip
from driveforge.datasets.webdataset_shards.format import roundtrip_clip
from driveforge.pipelines.studies.command import load_settings
from driveforge.pipelines.studies.detector.settings import DetectorStudy
from driveforge.pipelines.studies.detector.study import SIMULATED_DETECTOR
from driveforge.pipelines.studies.validator.clips import GoodClip, make_clip
from driveforge.validation.camera.tracked_view import TrackedView
from driveforge.validation.corruptions.catalog import CORRUPTIONS, corrupt
from driveforge.validation.instruments import Instruments
from driveforge.validation.objects.detections import detection_measures
from driveforge.validation.objects.onnx_detector import load_detector
from driveforge.validation.point_tracking.tracks import Tracks
from driveforge.validation.views.boxes import project_boxes
from driveforge.validation.views.view import reference_view

pytest.importorskip("onnxruntime", reason="a detector needs the extra driveforge[detector]")


def values_of(clip: Clip) -> dict[str, float]:
    view = reference_view(clip)
    tracked = TrackedView(
        view=view,
        boxes=project_boxes(view),
        tracks=Tracks(background=(), objects=()),
        instruments=Instruments(detector=load_detector(SIMULATED_DETECTOR)),
    )
    return {m.name: m.value for m in detection_measures(tracked) if m.value is not None}


def corrupted(clip: Clip, corruption_type: str) -> Clip:
    return corrupt(clip, corruption_type, CORRUPTIONS[corruption_type].strong, seed=1)


@pytest.mark.parametrize("number", [1, 3])
def test_it_finds_vehicles_that_have_no_box_and_misses_those_that_are_absent(number: int) -> None:
    clip = roundtrip_clip(make_clip(GoodClip(number=number, rows=128, seed=61_000)))
    good = values_of(clip)
    uncommanded = values_of(corrupted(clip, "uncommanded-moving"))["object_uncommanded"]
    missing = values_of(corrupted(clip, "missing-vehicle"))["object_undetected"]
    assert uncommanded > good["object_uncommanded"] + 0.2
    assert missing > good["object_undetected"] + 0.2


def test_its_recipe_is_the_default_of_the_command() -> None:
    recipe = json.loads(SIMULATED_DETECTOR.with_suffix(".json").read_text())["settings"]
    settings = load_settings(DetectorStudy)
    assert recipe == {name: getattr(settings, name) for name in recipe}
