"""Annotations and displayed frames of a picture of a measured clip."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from driveforge.datasets.scene import Clip
from driveforge.pipelines.plots.annotations import MAX_ANNOTATIONS, annotate_timeline, select_displayed_frames
from driveforge.pipelines.plots.captions import caption_lines, verdict_heading
from driveforge.pipelines.plots.measured_clip import WIDTH, plot_measured_clip
from driveforge.validation.calibration import Calibration
from driveforge.validation.measures import MeasuredClip, measure_clip
from driveforge.validation.review.drawing import short_id
from driveforge.validation.review.timeline import Timeline, build_timeline
from driveforge.validation.verdict import Verdict, judge
from tests.validation.limits import limits_at
from tests.validation.street import commanded_yaw, reordered, street

FROZEN = [0, 1, 2, 3, 4, 5, 6, 6, 6, 6, 6, 11, 12, 13, 14, 15, 16]
LIMITS = limits_at(
    "by hand",
    {
        "track_epipolar": 1.0,
        "pose_yaw": 2.0,
        "object_unsupported": 0.6,
        "time_duplicate": 0.8,
        "object_blockiness": 2.0,
    },
    note="a note",
)


@pytest.fixture(scope="module")
def good() -> Clip:
    return street()


def judged(clip: Clip, calibration: Calibration = LIMITS) -> tuple[MeasuredClip, Timeline, Verdict]:
    measured = measure_clip(clip)
    return (
        measured,
        build_timeline(measured.view, measured.boxes, measured.tracks),
        judge(measured.measures, calibration),
    )


def pixels(png: bytes) -> NDArray[np.int64]:
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return np.asarray(image[..., ::-1], np.int64)


def test_a_good_clip_has_no_annotations_and_four_displayed_frames(good: Clip) -> None:
    _, timeline, verdict = judged(good)
    assert annotate_timeline(timeline, verdict) == []
    displayed = select_displayed_frames(timeline, [])
    assert [one.kind for one in displayed].count("reference") == 1
    assert len({one.frame for one in displayed}) == 4


def test_without_limits_nothing_is_a_violation(good: Clip) -> None:
    _, timeline, verdict = judged(reordered(good, FROZEN))
    assert {mark.kind for mark in annotate_timeline(timeline, None)} == {"outlier"}
    assert annotate_timeline(timeline, verdict)[0].kind == "violation"


def test_the_last_moving_frame_is_shown_before_the_frozen_ones(good: Clip) -> None:
    _, timeline, _ = judged(reordered(good, FROZEN))
    annotations = annotate_timeline(timeline, None)
    assert [mark.spans for mark in annotations] == [((7, 10),)]
    kinds = {one.frame: one.kind for one in select_displayed_frames(timeline, annotations)}
    assert kinds[6] == "reference"
    assert kinds[10] == "outlier"


def test_there_is_no_ordinary_frame_if_all_are_off_the_command(good: Clip) -> None:
    _, timeline, verdict = judged(commanded_yaw(good, 8.0))
    displayed = select_displayed_frames(timeline, annotate_timeline(timeline, verdict))
    assert timeline.residual[[one.frame for one in displayed], 1].min() > 1.0
    assert "violation" in {one.kind for one in displayed}
    assert "reference" not in {one.kind for one in displayed}


def test_an_annotated_object_gets_a_close_up() -> None:
    _, timeline, verdict = judged(street(draw_car=lambda t: t < 8))
    annotations = annotate_timeline(timeline, verdict)
    assert {mark.track for mark in annotations if mark.is_violation} == {"car"}
    assert {one.track for one in select_displayed_frames(timeline, annotations)} == {"car"}


def test_the_number_of_annotations_is_limited(good: Clip) -> None:
    measured, timeline, _ = judged(good)
    strict = limits_at("strict", {m.name: 0.0 for m in measured.measures.values if m.value})
    annotations = annotate_timeline(timeline, judge(measured.measures, strict))
    assert len(annotations) == MAX_ANNOTATIONS
    assert all(0 <= mark.peak < 17 for mark in annotations)


def test_the_texts_name_the_verdict_its_limits_and_every_reason_code_once(good: Clip) -> None:
    measured, _, verdict = judged(commanded_yaw(good, 8.0))
    assert verdict_heading(verdict, LIMITS) == ("REJECTED", "Limits: by hand. a note")
    assert "Track epipolar" in [line.bold for line in caption_lines(measured.measures, verdict)]
    assert verdict_heading(None, None)[0] == "NO LIMITS"
    assert any(line.bold.endswith("°/s") for line in caption_lines(measured.measures, None))


def test_a_long_id_is_shortened_and_a_short_one_is_not() -> None:
    assert short_id("car") == "car"
    assert len(short_id("2f21b20547b9c3574b47debc358d6b6a")) == 9


def test_a_rejected_clip_has_a_red_verdict_and_an_accepted_one_a_green_one(good: Clip) -> None:
    def badge(clip: Clip) -> list[int]:
        """Mean color at the left end of the verdict's badge."""
        measured, _, _ = judged(clip)
        image = pixels(plot_measured_clip(clip, measured, LIMITS))
        assert image.shape[1] == WIDTH
        return [int(level) for level in image[96:116, 1178:1182].reshape(-1, 3).mean(0)]

    red, green, blue = badge(commanded_yaw(good, 8.0))
    assert red > 150 > 80 > max(green, blue)
    red, green, blue = badge(good)
    assert green > 90 > max(red, blue)


@pytest.mark.parametrize("num_frames", [1, 2, 5])
def test_the_shortest_clips_are_drawn(num_frames: int) -> None:
    clip = street(num_frames=num_frames, height=48, width=80)
    assert pixels(plot_measured_clip(clip, measure_clip(clip), None)).shape[1] == WIDTH
