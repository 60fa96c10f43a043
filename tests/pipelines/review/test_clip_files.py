"""What the page is told about a clip: overlays, joint score, source clip; and what a copy holds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Clip
from driveforge.datasets.video import decode_mp4
from driveforge.pipelines.inputs.sources import open_source
from driveforge.pipelines.review.clip_detail import describe_clip
from driveforge.pipelines.review.clip_table import describe_table, make_clip_table
from driveforge.pipelines.review.media import ClipMedia, NotFound, source_id
from driveforge.pipelines.review.overlays import draw_overlay
from driveforge.pipelines.review.publish import audit_metrics, count_metrics
from driveforge.pipelines.review.static_copy import choose_clips, select_covering_clips
from driveforge.pipelines.validate.gate import Decision
from driveforge.pipelines.validate.overrides import Override
from driveforge.validation.calibration import Calibration
from driveforge.validation.cross_conformal import calibrate
from driveforge.validation.instruments import Instruments
from driveforge.validation.records import make_measure
from driveforge.validation.verdict import Reason, judge
from tests.pipelines.measure_sets import some_measures
from tests.pipelines.review.small_review import make_decisions, small_config
from tests.pipelines.review.test_audit import STATES, audit_sample, estimate_audit
from tests.validation.street import commanded_yaw, street


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return calibrate(some_measures(60), name="by hand", false_reject_rate=0.05)


def residuals(clip: Clip) -> list[float]:
    frames = draw_overlay(clip, "front")["frames"]
    return [value for frame in frames for value in frame["tracks"]["residual"] if value is not None]


def test_tracks_deviate_if_the_command_is_another() -> None:
    clip = street(num_frames=9)
    good, corrupted = residuals(clip), residuals(commanded_yaw(clip, 5.0))
    bad_px = draw_overlay(clip, "front")["bad_px"]
    assert np.mean(np.array(good) > bad_px) < 0.1 < 0.5 < np.mean(np.array(corrupted) > bad_px)


def test_overlays_are_in_the_pixels_of_the_video() -> None:
    clip = street(num_frames=9)
    drawn = draw_overlay(clip, "front")
    assert (drawn["width"], drawn["height"], len(drawn["frames"])) == (160, 96, 9)
    frame = drawn["frames"][5]
    assert [drawn["objects"][box["object"]]["id"] for box in frame["boxes"]] == ["car"]
    assert np.shape(frame["boxes"][0]["points"]) == (8, 2)
    points = np.array(frame["tracks"]["points"])
    assert points.shape[1:] == (5, 2), "a tail of four frames"
    assert (points >= 0).all() and (points[..., 0] < 160).all() and (points[..., 1] < 96).all()
    # The camera looks ahead and drives straight: it moves toward the image center.
    assert frame["commanded"] == pytest.approx([79.5, 47.5], abs=1.0)
    assert drawn["frames"][0]["commanded"] is None and drawn["frames"][0]["tracks"]["points"] == []


def test_a_clip_without_a_pose_has_tracks_only() -> None:
    clip = street(num_frames=6)
    scene = replace(clip.scene, ego_to_world=None, tracks=())
    drawn = draw_overlay(Clip(scene=scene, frames=clip.frames), "front")
    assert drawn["reason"] == "no pose" and drawn["objects"] == []
    assert set(drawn["frames"][3]["tracks"]["residual"]) == {None} and drawn["frames"][3]["object_tracks"] == {}


def test_measures_within_their_limits_can_be_too_much_together(tmp_path: Path, calibration: Calibration) -> None:
    (one,) = make_decisions(tmp_path, 1)
    limits = calibration.limits(one.candidate.measures)
    values = tuple(
        make_measure(name, 0.99 * limits[name]) for name in ("pose_yaw", "track_epipolar", "time_track_loss")
    )
    measures = replace(one.candidate.measures, values=values)
    decision = Decision(candidate=replace(one.candidate, measures=measures), verdict=judge(measures, calibration))
    about = describe_clip(decision, calibration)
    joint = about["joint"]
    assert decision.verdict.state == "rejected" and joint["kind"] == "together" and about["is_current"]
    assert joint["score"] == pytest.approx(decision.verdict.score)
    assert all(part["alone"] < joint["limit"] < joint["score"] for part in joint["parts"])
    assert all(row["value"] < row["limit"] for row in about["measures"])
    assert any(row["is_reason"] for row in about["measures"])
    rest = {k: v for k, v in calibration.nonconformity_scores(measures).items() if k != joint["parts"][0]["name"]}
    assert joint["parts"][0]["adds"] == pytest.approx(joint["score"] - calibration.combined_score(rest))
    other = calibrate(some_measures(60, seed=9), name="another", false_reject_rate=0.05)
    assert not describe_clip(decision, other)["is_current"]


def test_a_long_track_id_is_shortened_in_reasons(tmp_path: Path) -> None:
    (one,) = make_decisions(tmp_path, 1)
    track = "0123456789abcdef" * 2
    reason = Reason(
        code="OBJECT_LEAP", measure="pose_yaw", value=1.0, limit=0.5, frames=(2,), track=track,
        text=f"object {track}: it leaps",
    )  # fmt: skip
    table = make_clip_table([replace(one, verdict=replace(one.verdict, reasons=(reason,)))], _LIMITS)
    assert table.rows[0]["reasons"][0]["text"] == "object 012345...: it leaps"
    assert table.rows[0]["reasons"][0]["track"] == track, "the page finds the box by it"
    assert describe_table(table)["codes"].keys() == {"OBJECT_LEAP"}


_LIMITS = calibrate(some_measures(60), name="limits", false_reject_rate=0.05)


def test_the_source_clip_is_found_by_its_name(tmp_path: Path) -> None:
    config = small_config(tmp_path / "run", "data.num_scenes=2", "data.num_frames=5", "data.height=32", "data.width=48")
    scene = open_source(config.data).scenes()[1]
    known, unknown = f"{scene.clip_id}-slower-0123abcd", "nothing-dusk-0123abcd"
    decisions = make_decisions(tmp_path, 2, [known, unknown])
    assert source_id(decisions[0].candidate) == scene.clip_id and source_id(decisions[1].candidate) == "nothing"
    media = ClipMedia(make_clip_table(decisions, _LIMITS), config.data, Instruments)
    name = f"{scene.cameras[0].name}.mp4".lower()
    assert decode_mp4(media.source_video(known, name))[0].shape == (5, 32, 48, 3)
    for clip_id, video in ((unknown, name), (known, "back.mp4"), ("other", name)):
        with pytest.raises(NotFound):
            media.source_video(clip_id, video)


def test_a_copy_covers_every_reason_and_accepted_clips(tmp_path: Path) -> None:
    decisions = {decision.candidate.clip_id: decision for decision in make_decisions(tmp_path, 300)}
    assert choose_clips(decisions, None) == choose_clips(decisions, 300) == set(decisions)
    chosen = choose_clips(decisions, 40)
    states = [decisions[clip_id].state for clip_id in chosen]
    assert len(chosen) == 40 and states.count("accepted") == 10
    few = {clip_id: one for clip_id, one in decisions.items() if one.state == "accepted" or clip_id < "clip-0010"}
    assert len(choose_clips(few, 100)) == 100, "few rejected clips leave room for accepted ones"


def test_rare_reasons_come_first() -> None:
    reasons = {f"a{n}": ["A"] for n in range(6)} | {"b": ["B"], "c": ["A", "C"], "d": []}
    assert select_covering_clips(reasons, 3) == ["b", "c", "d"]
    assert select_covering_clips(reasons, 99) == list(reasons)


def test_counts_and_the_audit_are_metrics(tmp_path: Path) -> None:
    decisions = make_decisions(tmp_path, 7)
    by_hand = Override(clip_id="clip-0000", state="rejected", reviewer="a", reason="b")
    decisions[0] = replace(decisions[0], override=by_hand)
    assert count_metrics(decisions) == {
        "generated": 7.0, "accepted": 4.0, "rejected": 3.0, "unmeasured": 0.0, "reason/POSE_YAW": 2.0,
    }  # fmt: skip
    sample = audit_sample(STATES, 0.1, 0)
    found = audit_metrics(estimate_audit(STATES, sample, dict.fromkeys(sample, "accept")))
    assert found["audit/precision"] == 1.0 and found["audit/judged"] == 40.0 and "audit/miss_rate" not in found


def test_limits_for_another_tracker_are_refused(tmp_path: Path) -> None:
    (one,) = make_decisions(tmp_path, 1)
    measures = replace(one.candidate.measures, tracker="cotracker")
    with pytest.raises(UserError, match="was tracked by cotracker"):
        describe_clip(replace(one, candidate=replace(one.candidate, measures=measures)), _LIMITS)
