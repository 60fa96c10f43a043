"""Limits from good clips: what they promise, what they refuse, how they are kept."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from datasets.errors import UserError
from validation.calibration import Calibration, calibrate, calibration_rows, clips_needed
from validation.records import Measures, measured, unmeasurable
from validation.verdict import judge

NAMES = ("track_epipolar", "pose_yaw", "pose_translation", "object_drift", "object_unsupported", "time_cut")


def draw(rng: np.random.Generator, name: str) -> Measures:
    """A good clip: heavy-tailed values, all the larger in hard clips, some of them missing."""
    hard = rng.lognormal(0, 0.3)
    values = [measured(n, min(0.2 * hard * rng.lognormal(0, 0.5), 1.0), (1, 2)) for n in NAMES[:-1]]
    if rng.random() < 0.3:
        values[-1] = unmeasurable(NAMES[-2], "no boxes in view")
    return Measures(clip_id=name, values=(*values, measured("time_cut", 1 + rng.lognormal(-2, 0.3))))


def draws(seed: int, count: int) -> list[Measures]:
    rng = np.random.default_rng(seed)
    return [draw(rng, f"clip-{seed}-{i}") for i in range(count)]


@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_good_clips_are_rejected_as_often_as_was_asked_for(rate: float) -> None:
    rejected = []
    for seed in range(25):
        calibration = calibrate(draws(seed, 90), name="draws", false_reject_rate=rate)
        assert calibration.achieved_rate <= rate
        fresh = draws(1000 + seed, 60)
        rejected += [judge(measures, calibration).state == "rejected" for measures in fresh]
    assert 0.5 * rate < np.mean(rejected) < 1.3 * rate


@pytest.mark.parametrize(("rate", "needed"), [(0.05, 29), (0.01, 109), (0.2, 14)])
def test_too_few_clips_are_refused_with_the_number_needed(rate: float, needed: int) -> None:
    assert clips_needed(rate) == needed
    calibrate(draws(0, needed), name="enough", false_reject_rate=rate)
    with pytest.raises(UserError, match=f"{needed} are needed"):
        calibrate(draws(0, needed - 1), name="too few", false_reject_rate=rate)


def test_clips_of_one_scene_stay_on_one_side() -> None:
    sets = draws(0, 60)
    with pytest.raises(UserError, match="scenes"):
        calibrate(sets, name="one scene", scenes=["same"] * 60)
    calibration = calibrate(sets, name="twelve scenes", scenes=[f"scene-{i // 5}" for i in range(60)])
    assert calibration.num_fit % 5 == calibration.num_calibrate % 5 == 0
    assert calibration.num_fit + calibration.num_calibrate == 60


def test_rates_that_are_none_and_scenes_that_do_not_match_are_refused() -> None:
    with pytest.raises(UserError, match="between 0 and 1"):
        calibrate(draws(0, 60), name="all", false_reject_rate=1.0)
    with pytest.raises(UserError, match="59 scenes"):
        calibrate(draws(0, 60), name="short", scenes=["a"] * 59)


def test_it_is_kept_as_json_and_read_back(tmp_path: Path) -> None:
    calibration = calibrate(draws(0, 60), name="draws through the codec")
    calibration.save(tmp_path / "calibration.json")
    assert Calibration.load(tmp_path / "calibration.json") == calibration
    (tmp_path / "broken.json").write_text('{"format": 1, "name": "x"}')
    with pytest.raises(UserError, match=r"broken\.json"):
        Calibration.load(tmp_path / "broken.json")
    with pytest.raises(UserError, match="driveforge calibrate"):
        Calibration.load(tmp_path / "absent.json")


def test_its_digest_is_of_the_set_and_not_of_its_order() -> None:
    sets = draws(0, 60)
    one = calibrate(sets, name="a")
    assert calibrate(sets[::-1], name="a").digest == one.digest
    assert calibrate(draws(1, 60), name="a").digest != one.digest


def test_simulated_clips_are_named_as_what_they_are() -> None:
    real = draws(0, 60)
    assert calibrate(real, name="real").note == ""
    assert "SIMULATED" in calibrate([replace(m, source="simulated street") for m in real], name="sim").note


def test_a_measure_that_was_hardly_ever_taken_gets_no_limit() -> None:
    calibration = calibrate(draws(0, 60), name="draws")
    assert {row[1] for row in calibration_rows(calibration)} == set(NAMES)
    assert calibration.limit("pose_rotation") is None
    for limit in calibration.limits:
        assert limit.limit > 0


def test_a_share_keeps_a_limit_that_can_be_broken() -> None:
    calibration = calibrate(draws(0, 60), name="draws")
    limit = calibration.limit("object_unsupported")
    assert limit is not None and limit.limit < 1.0


def test_looks_that_are_opposed_are_worse_than_any_share_and_no_error() -> None:
    """One minus a correlation goes up to 2: the clip is judged, and so is what was calibrated on such a clip."""
    good = draws(5, 60)
    opposed = replace(good[0], values=(*good[0].values, measured("object_appearance", 1.7, (1, 2))))
    others = [replace(m, values=(*m.values, measured("object_appearance", 0.2, (1, 2)))) for m in good[1:]]
    calibration = calibrate([opposed, *others], name="draws", false_reject_rate=0.2)
    assert judge(opposed, calibration).state == "rejected"
