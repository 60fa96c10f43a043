from collections.abc import Mapping

import numpy as np
import pytest

from driveforge.datasets.errors import UserError
from driveforge.finetune.evaluation.promotion_rule import PromotionCheck, PromotionDecision, decide_promotion
from driveforge.finetune.evaluation.promotion_settings import PromotionRule
from driveforge.finetune.evaluation.results import Evaluation
from tests.finetune.evaluation.probes import evaluation

LOOKS, MOTION, BOXES = "next_frame/psnr", "points/static", "moving_objects/ade"
RULE = PromotionRule(
    improve=LOOKS, dynamics=(MOTION,), driving_domains=("driving-*",), tolerance=0.05, confidence=0.95, min_clips=8
)
DOMAINS = ("driving-day", "driving-dusk", "orbit", "walkers")


def model(
    gain: float = 0.0,
    falls: Mapping[str, float] | None = None,
    *,
    spread: float = 0.01,
    clips: int = 10,
    seed: int = 0,
    gone: Mapping[str, int] | None = None,
) -> Evaluation:
    """Looks of driving better by ``gain`` dB, motion worse by ``falls`` of the base's in a domain, up to a spread.

    The first ``gone`` clips of a domain cannot be measured.
    """
    noise, scores = np.random.default_rng(seed), dict[tuple[str, str], list[float | None]]()
    for number, domain in enumerate(DOMAINS):
        base = np.random.default_rng(100 + number).gamma(9.0, 0.1, clips)
        worse = base * (1 + (falls or {}).get(domain, 0.0)) * (1 + spread * noise.normal(size=clips))
        scores[domain, MOTION] = [None] * (gone or {}).get(domain, 0) + list(worse[(gone or {}).get(domain, 0) :])
        scores[domain, LOOKS] = list(20 + base + gain + 0.1 * noise.normal(size=clips))
    return evaluation(scores)


BASE = model(seed=7)


def verdict(candidate: Evaluation, rule: PromotionRule = RULE, **earlier: Evaluation) -> PromotionDecision:
    return decide_promotion(candidate, earlier or {"base": BASE}, rule)


def of(decision: PromotionDecision, domain: str) -> PromotionCheck:
    (check,) = (check for check in decision.checks if check.comparison.domain == domain and check.tolerance is not None)
    return check


def test_what_improved_and_kept_its_motion_is_promoted() -> None:
    decision = verdict(model(gain=0.5))
    assert decision.is_promoted and not decision.failed
    assert [check.state for check in decision.checks] == ["improved"] + ["retained"] * len(DOMAINS)


def test_motion_forgotten_in_one_domain_refuses_however_driving_improved() -> None:
    decision = verdict(model(gain=3.0, falls={"orbit": 0.4}))
    assert not decision.is_promoted
    (check,) = decision.failed
    assert (check.state, check.comparison.domain, check.comparison.measure) == ("regressed", "orbit", MOTION)
    assert check.comparison.change is not None and check.comparison.change.regression == pytest.approx(0.4, abs=0.02)


def test_driving_motion_is_guarded_too() -> None:
    assert of(verdict(model(gain=3.0, falls={"driving-day": 0.4})), "driving-day").state == "regressed"


def test_a_fall_within_the_tolerance_passes() -> None:
    assert verdict(model(gain=0.5, falls={"orbit": 0.02}, spread=0.005)).is_promoted


def test_what_cannot_be_excluded_refuses_though_the_mean_is_within_the_tolerance() -> None:
    decision = verdict(model(gain=0.5, spread=0.2))
    checks = [
        check for check in decision.failed if check.comparison.change and check.comparison.change.regression < 0.05
    ]
    assert checks and {check.state for check in checks} == {"inconclusive"}
    assert all(check.reason == "a fall of more than 5 % is not excluded" for check in checks)


@pytest.mark.parametrize(("gain", "state"), [(0.0, "inconclusive"), (-1.0, "worse")])
def test_no_improvement_refuses(gain: float, state: str) -> None:
    (check,) = verdict(model(gain=gain)).failed
    assert (check.state, check.comparison.domain, check.tolerance) == (state, "driving", None)


def test_few_clips_refuse_rather_than_pass() -> None:
    decision = verdict(model(gain=0.5, gone={"walkers": 3}))
    assert [check.reason for check in decision.failed] == ["measured under both models on 7 of 10 clips, 8 are needed"]
    assert decision.failed[0].state == "inconclusive"


def test_clips_that_can_no_longer_be_measured_refuse() -> None:
    decision = verdict(model(gain=0.5, gone={"walkers": 2}))
    assert [check.reason for check in decision.failed] == ["2 clips that could be measured before cannot be any more"]
    assert verdict(model(gain=0.5, gone={"walkers": 1})).is_promoted


def test_a_measure_that_no_earlier_model_has_in_a_domain_is_not_guarded_there_and_told() -> None:
    def with_boxes(model: Evaluation, orbit: float | None) -> Evaluation:
        boxes = evaluation({(d, BOXES): [orbit if d == "orbit" else 0.5] * 10 for d in DOMAINS})
        return Evaluation(protocol=model.protocol, values=(*model.values, *boxes.values))

    rule = PromotionRule(**{name: getattr(RULE, name) for name in RULE.__slots__} | {"dynamics": (MOTION, BOXES)})
    decision = verdict(with_boxes(model(gain=0.5), None), rule, base=with_boxes(BASE, None))
    assert decision.is_promoted
    assert decision.unmeasured == (("orbit", BOXES),)


def test_a_domain_of_which_nothing_is_known_refuses() -> None:
    blind = model(seed=7, gone={"orbit": 10})
    (check,) = verdict(model(gain=0.5), base=blind).failed
    assert (check.state, check.comparison.domain, check.comparison.num_pairs) == ("inconclusive", "orbit", 0)


def test_a_domain_that_was_not_probed_this_time_refuses() -> None:
    candidate = model(gain=0.5)
    fewer = Evaluation(protocol="p1", values=tuple(v for v in candidate.values if v.domain != "walkers"))
    (check,) = verdict(fewer).failed
    assert (check.state, check.comparison.domain) == ("inconclusive", "walkers")


def test_small_falls_do_not_add_up_unseen() -> None:
    champion = model(falls={"orbit": 0.04}, spread=0.001, seed=1)
    next_one = model(gain=0.5, falls={"orbit": 0.081}, spread=0.001, seed=2)
    assert verdict(next_one, champion=champion).is_promoted
    (check,) = verdict(next_one, champion=champion, base=BASE).failed
    assert (check.baseline, check.comparison.domain, check.state) == ("base", "orbit", "regressed")


def test_only_the_first_has_to_be_improved_upon() -> None:
    champion, base = model(gain=0.5, seed=1), model(gain=2.0, seed=2)
    assert verdict(model(gain=1.0), champion=champion, base=base).is_promoted


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"improve": "fvd"}, "the probe has no measure fvd; there are next_frame/psnr, points/static"),
        ({"dynamics": (MOTION, "flow")}, "the probe has no measure flow"),
        ({"driving_domains": ("street*",)}, r"no domain of the probe is driving by street\*; there are driving-day"),
    ],
)
def test_a_rule_that_fits_no_probe_is_refused_in_words(change: dict[str, object], said: str) -> None:
    rule = PromotionRule(**{name: getattr(RULE, name) for name in RULE.__slots__} | change)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=said):
        verdict(model(), rule)
