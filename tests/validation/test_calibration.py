"""Limits from good clips: their rates and their requirements."""

import math
from dataclasses import replace

import numpy as np
import pytest

from driveforge.datasets.errors import UserError
from driveforge.validation.calibration import Calibration, clopper_pearson_upper_bound
from driveforge.validation.covariates import ClipCovariates
from driveforge.validation.cross_conformal import calibrate, num_scenes_needed
from driveforge.validation.guarantee import (
    calibration_table_rows,
    describe_false_reject_rate,
    describe_left_out_covariates,
)
from driveforge.validation.records import Measures, make_measure, make_unmeasurable
from driveforge.validation.tail_model import from_model_scale, to_model_scale
from driveforge.validation.verdict import judge
from tests.validation.random_measures import NAMES, draw, draws


@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_good_clips_are_rejected_at_the_requested_rate(rate: float) -> None:
    rejected = []
    for seed in range(25):
        calibration = calibrate(draws(seed, 90), name="draws", false_reject_rate=rate)
        assert calibration.thresholds[-1].achieved_rate <= rate
        fresh = draws(1000 + seed, 60)
        rejected += [judge(measures, calibration).state == "rejected" for measures in fresh]
    # 90 clips allow 4.4 % at a rate of 5 %.
    assert 0.4 * rate < np.mean(rejected) < 1.3 * rate


@pytest.mark.parametrize(("rate", "needed"), [(0.05, 19), (0.01, 99), (0.2, 12)])
def test_too_few_clips_are_refused_with_the_number_needed(rate: float, needed: int) -> None:
    assert num_scenes_needed(rate) == needed
    calibrate(draws(0, needed), name="enough", false_reject_rate=rate)
    with pytest.raises(UserError, match=f"{needed} scenes are needed"):
        calibrate(draws(0, needed - 1), name="too few", false_reject_rate=rate)


def test_clips_of_different_trackers_are_not_calibrated_together() -> None:
    some, others = draws(0, 40), [replace(measures, tracker="cotracker") for measures in draws(1, 40)]
    assert calibrate(others, name="cotracker").tracker == "cotracker"
    with pytest.raises(UserError, match="tracked by cotracker and by lucas_kanade have different limits"):
        calibrate([*some, *others], name="both")


def test_clips_of_one_scene_stay_in_one_fold() -> None:
    clip_measures = draws(0, 200)
    with pytest.raises(UserError, match="clips of 1 scenes"):
        calibrate(clip_measures, name="one scene", scenes=["same"] * 200)
    calibration = calibrate(clip_measures, name="forty scenes", scenes=[f"scene-{i // 5}" for i in range(200)])
    audit, every = calibration.audit, calibration.thresholds[-1]
    assert audit is not None
    assert calibration.num_fit_clips == every.num_clips == audit.num_clips == 200
    assert every.num_scenes == audit.num_scenes == 40


def test_scores_do_not_depend_on_clips_of_the_same_scene() -> None:
    """Five equal clips of each scene: a clip must not be scored by models that were fitted on the others."""
    rng = np.random.default_rng(0)
    scenes = [f"scene-{n}" for n in range(40) for _ in range(5)]
    clips = [clip for n in range(40) for clip in 5 * [draw(rng, f"clip-{n}")]]
    grouped = calibrate(clips, name="grouped", scenes=scenes)
    ungrouped = calibrate(clips, name="ungrouped", scenes=[f"{scene}-{n}" for n, scene in enumerate(scenes)])
    assert grouped.thresholds[-1].score > ungrouped.thresholds[-1].score


def test_impossible_rates_and_mismatched_scenes_are_refused() -> None:
    with pytest.raises(UserError, match="between 0 and 1"):
        calibrate(draws(0, 60), name="all", false_reject_rate=1.0)
    with pytest.raises(UserError, match="59 scenes"):
        calibrate(draws(0, 60), name="short", scenes=["a"] * 59)


def test_the_digest_does_not_depend_on_the_order() -> None:
    clip_measures = draws(0, 60)
    one = calibrate(clip_measures, name="a")
    assert calibrate(clip_measures[::-1], name="a").digest == one.digest
    assert calibrate(draws(1, 60), name="a").digest != one.digest


def test_limits_from_simulated_clips_have_a_note() -> None:
    real = draws(0, 60)
    assert calibrate(real, name="real").note == ""
    assert "SIMULATED" in calibrate([replace(m, source="simulated street") for m in real], name="sim").note


def test_a_measure_with_too_few_values_gets_no_limit() -> None:
    calibration = calibrate(draws(0, 60), name="draws")
    assert {row[1] for row in calibration_table_rows(calibration)} == set(NAMES)
    limits = calibration.limits(draws(1, 1)[0])
    assert "pose_rotation" not in limits
    assert all(limit > 0 for limit in limits.values())


def test_several_measures_below_their_limits_add_up() -> None:
    calibration = calibrate(draws(0, 200), name="draws")
    clip = draws(1, 1)[0]
    limits = calibration.limits(clip)
    odd = {m.name: replace(m, value=0.6 * limits[m.name]) for m in clip.values}
    one_odd = replace(clip, values=(odd[clip.values[0].name], *clip.values[1:]))
    assert judge(clip, calibration).state == judge(one_odd, calibration).state == "accepted"
    verdict = judge(replace(clip, values=tuple(odd.values())), calibration)
    assert verdict.state == "rejected" and len(verdict.reasons) > 1
    assert all(
        reason.value < reason.limit and "too high in combination with others" in reason.text
        for reason in verdict.reasons
    )  # type: ignore[operator]


@pytest.mark.parametrize("name", ["track_epipolar", "pose_yaw", "time_cut"])
@pytest.mark.parametrize("factor", [10.0, 1e3, 1e9])
def test_one_odd_clip_moves_no_limit_by_more_than_half(name: str, factor: float) -> None:
    """At a rate of 5 %, five of 109 good clips may be above the threshold: one of them may have any value."""
    good = draws(7, 109)
    values = tuple(replace(m, value=factor * (m.value or 0.0)) if m.name == name else m for m in good[50].values)
    odd = [*good[:50], replace(good[50], values=values), *good[51:]]
    before, after = (calibrate(clips, name="draws").limits(good[0]) for clips in (good, odd))
    assert before.keys() == after.keys()
    for measure, limit in before.items():
        assert limit / 1.5 < after[measure] < 1.5 * limit, measure


@pytest.mark.parametrize("seed", range(3))
def test_a_single_measure_30_mean_excesses_in_its_tail_is_rejected(seed: int) -> None:
    calibration = calibrate(draws(seed, 109), name="draws", false_reject_rate=0.01)
    clip = draws(100 + seed, 1)[0]
    for m in clip.values:
        model = calibration.tail_model_by_measure[m.name]
        if m.value is None or m.unit == "share":
            continue
        tail_start = to_model_scale(m.name, model.value_at(0.0, calibration.covariate_scale(None)))
        value = from_model_scale(m.name, tail_start + 30 * model.mean_excess)
        odd = tuple(replace(other, value=value) if other.name == m.name else other for other in clip.values)
        assert judge(replace(clip, values=odd), calibration).state == "rejected", m.name


def test_the_limit_of_a_share_is_below_1() -> None:
    calibration = calibrate(draws(0, 60), name="draws")
    assert calibration.limits(draws(1, 1)[0])["object_unsupported"] < 1.0


def test_opposed_appearance_counts_as_a_share_of_1() -> None:
    """One minus a correlation may reach 2: such clips can be evaluated and calibrated on."""
    good = draws(5, 60)
    opposed = replace(good[0], values=(*good[0].values, make_measure("object_appearance", 1.7, (1, 2))))
    others = [replace(m, values=(*m.values, make_measure("object_appearance", 0.2, (1, 2)))) for m in good[1:]]
    calibration = calibrate([opposed, *others], name="draws", false_reject_rate=0.2)
    assert judge(opposed, calibration).state == "rejected"


def test_an_audit_evaluates_every_good_clip_under_the_other_folds() -> None:
    calibration = calibrate(draws(3, 200), name="draws", false_reject_rate=0.1)
    audit = calibration.audit
    assert audit is not None and audit.num_clips == 200
    assert 0.04 < audit.num_rejected / 200 == audit.rate < 0.16
    assert audit.upper_bound == clopper_pearson_upper_bound(audit.num_rejected, 200) > audit.rate
    assert f"audited {audit.num_rejected} of 200 clips" in describe_false_reject_rate(calibration)
    assert calibrate(draws(3, 19), name="few").audit is None


def test_the_clopper_pearson_bound() -> None:
    """The rule of three: after no reject in 299 clips the rate is at most 1 %, with 95 % confidence."""
    assert clopper_pearson_upper_bound(0, 299) == pytest.approx(1 - 0.05 ** (1 / 299))
    assert clopper_pearson_upper_bound(0, 299) < 0.01 < clopper_pearson_upper_bound(0, 297)
    assert clopper_pearson_upper_bound(5, 5) == 1.0


USUAL = ClipCovariates(
    rig="front", frame_rate=10.0, speed=8.0, rotation_rate=1.0, flow=4.0, noise=2.0, brightness=90.0, contrast=40.0
)


def in_the_dark(seed: int, count: int) -> list[Measures]:
    """Bright and dark clips; in dark clips every length and angle is three times as large."""
    rng = np.random.default_rng(seed)
    clip_measures = []
    for number in range(count):
        around = replace(USUAL, brightness=float(rng.uniform(20, 200)))
        clip = draw(rng, f"clip-{seed}-{number}")
        factor = 3.0 if around.light == "dark" else 1.0
        values = [m for m in clip.values if m.value is not None and m.unit != "share"]
        larger = tuple(replace(m, value=factor * (m.value or 0.0)) for m in values)
        clip_measures.append(replace(clip, values=larger, covariates=around))
    return clip_measures


def test_limits_depend_on_covariates() -> None:
    calibration = calibrate(in_the_dark(0, 1000), name="mixed", false_reject_rate=0.05)
    assert {t.bucket for t in calibration.thresholds} >= {"front at 10 Hz, moving, dark", "every clip"}
    limits = {}
    for light in ("dark", "bright"):
        clips = [m for m in in_the_dark(1, 400) if m.covariates and m.covariates.light == light]
        mean_excess = [max((m.value or 0) / calibration.limits(clip)[m.name] for m in clip.values) for clip in clips]
        assert np.mean(np.array(mean_excess) > 1) < 0.12
        limits[light] = calibration.limits(clips[0])["pose_yaw"]
    assert limits["dark"] > 1.5 * limits["bright"]


def test_limits_from_fewer_than_60_clips_do_not_depend_on_covariates() -> None:
    few, enough = (calibrate(in_the_dark(0, count), name="mixed") for count in (59, 60))
    assert "limits of all measures do not depend on speed, light or noise" in describe_left_out_covariates(few)
    assert not any(any(model.slopes) for model in few.tail_models)
    assert any(enough.tail_model_by_measure["pose_yaw"].slopes)
    assert "all measures" not in describe_left_out_covariates(enough)


def test_a_small_bucket_has_no_threshold() -> None:
    """About 20 dark clips support 5 %, but a few clips would determine their threshold."""
    clips = in_the_dark(0, 400)
    dark = [m for m in clips if m.covariates and m.covariates.light == "dark"][:80]
    bright = [m for m in clips if m.covariates and m.covariates.light == "bright"][:200]
    calibration = calibrate([*dark, *bright], name="few in the dark")
    assert "front at 10 Hz, moving, dark" not in {threshold.bucket for threshold in calibration.thresholds}
    assert "front at 10 Hz, moving, bright" in {threshold.bucket for threshold in calibration.thresholds}


def test_a_clip_of_an_unknown_bucket_uses_the_threshold_of_every_clip() -> None:
    calibration = calibrate(in_the_dark(0, 400), name="mixed")
    stranger = in_the_dark(1, 1)[0]
    assert stranger.covariates is not None
    stranger = replace(stranger, covariates=replace(stranger.covariates, rig="rear", speed=0.0))
    assert calibration.threshold(stranger).bucket == "every clip"


def with_objects(seed: int, count: int) -> list[Measures]:
    """Good clips with an object each: the less of it is visible, the larger its residual."""
    rng = np.random.default_rng(seed)
    clips = []
    for number in range(count):
        visibility = float(rng.uniform(0.3, 1.0))
        residual = 0.5 * np.exp(2.5 * (1 - visibility) + rng.normal(0, 0.3))
        of_object = make_measure("object_residual", residual, (1, 2), "car", visibility)
        clip = draw(rng, f"clip-{seed}-{number}")
        clips.append(replace(clip, values=(*clip.values, of_object)))
    return clips


def test_an_object_is_compared_with_objects_that_are_as_visible() -> None:
    calibration = calibrate(with_objects(0, 150), name="objects")

    def limit(visibility: float | None) -> float:
        clip = draws(1, 1)[0]
        of_object = make_measure("object_residual", 1.0, visibility=visibility)
        return calibration.limits(replace(clip, values=(*clip.values, of_object)))["object_residual"]

    assert 2.0 < limit(0.5) / limit(1.0) < 5.0
    assert limit(None) == limit(1.0)
    assert limit(0.0) == limit(0.1), "below the visibility of good clips the regression does not extrapolate"
    fresh = with_objects(1, 400)
    assert rejects(calibration, fresh) < 0.1
    cut_off = [m for m in fresh if (m["object_residual"].visibility or 0) < 0.5]
    assert rejects(calibration, cut_off) < 0.15


def test_a_visibility_that_few_clips_state_has_no_effect() -> None:
    clips = [*with_objects(0, 15), *(replace(m, values=m.values[:-1]) for m in with_objects(1, 60))]
    assert calibrate(clips, name="few").tail_model_by_measure["object_residual"].visibility is None


def of_rig(rig: str, seed: int, count: int, factor: float) -> list[Measures]:
    """Good clips of a rig with yaw rates and lengths that are ``factor`` times as large."""
    rng = np.random.default_rng(seed)
    clip_measures = []
    for number in range(count):
        clip = draw(rng, f"{rig}-{seed}-{number}")
        values = tuple(replace(m, value=factor * (m.value or 0.0)) for m in clip.values if m.unit in ("px", "deg/s"))
        clip_measures.append(replace(clip, values=values, covariates=replace(USUAL, rig=rig)))
    return clip_measures


def rejects(calibration: Calibration, clip_measures: list[Measures]) -> float:
    return float(np.mean([judge(measures, calibration).state == "rejected" for measures in clip_measures]))


def test_a_little_footage_of_another_rig_adapts_its_limits() -> None:
    many, other = of_rig("front", 0, 200, 1.0), of_rig("dashcam", 1, 40, 8.0)
    single = calibrate(many, name="front")
    recording = [f"own-{n}" for n in range(200)] + ["drive"] * 20
    both = calibrate([*many, *other[:20]], name="front, and one drive of a dashcam", scenes=recording)
    assert rejects(single, other[20:]) > 0.8
    assert rejects(both, other[20:]) < 0.3
    fresh = of_rig("front", 2, 200, 1.0)
    assert abs(rejects(both, fresh) - rejects(single, fresh)) < 0.05
    assert rejects(both, of_rig("front", 3, 40, 8.0)) > 0.8, "the limits of one rig do not apply to others"
    assert both.thresholds[-1].num_clips == 200, "a rig of one recording is fitted and never held out"


def test_a_few_clips_of_a_rig_never_tighten_its_limits() -> None:
    steady = of_rig("lab", 4, 6, 0.05)
    both = calibrate(
        [*of_rig("front", 0, 200, 1.0), *steady], name="with a lab", scenes=[f"{n}" for n in range(200)] + ["lab"] * 6
    )
    limits = both.limits(steady[0]), both.limits(of_rig("front", 2, 1, 1.0)[0])
    assert limits[0] == pytest.approx(limits[1], rel=0.05)


def test_invalid_limits_are_refused_even_with_a_correct_digest() -> None:
    calibration = calibrate(draws(0, 60), name="sixty")
    for score in (math.inf, -math.inf, math.nan):
        with pytest.raises(UserError, match="must be finite"):
            replace(calibration.thresholds[-1], score=score)
    with pytest.raises(UserError, match="thresholds"):
        replace(calibration, thresholds=calibration.thresholds[:0])
    empty = [Measures(clip_id=f"c-{i}", values=(make_unmeasurable("pose_yaw", "too few tracks"),)) for i in range(60)]
    with pytest.raises(UserError, match="too few could be measured"):
        calibrate(empty, name="nothing")
