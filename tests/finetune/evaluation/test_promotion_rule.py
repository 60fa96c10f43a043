from collections.abc import Mapping

import numpy as np
import pytest

from driveforge.datasets.errors import UserError
from driveforge.finetune.evaluation.promotion_rule import PromotionCheck, PromotionDecision, decide_promotion
from driveforge.finetune.evaluation.promotion_settings import PromotionRule
from driveforge.finetune.evaluation.results import Evaluation
from tests.finetune.evaluation.synthetic_evaluations import evaluation

APPEARANCE, MOTION, BOXES = "next_frame/psnr", "points/static", "moving_objects/ade"
RULE = PromotionRule(
    improve=APPEARANCE, dynamics=(MOTION,), driving_domains=("driving-*",), tolerance=0.05, confidence=0.95, min_clips=8
)
DOMAINS = ("driving-day", "driving-dusk", "orbit", "walkers")


def model(
    gain: float = 0.0,
    regressions: Mapping[str, float] | None = None,
    *,
    spread: float = 0.01,
    clips: int = 10,
    seed: int = 0,
    missing: Mapping[str, int] | None = None,
) -> Evaluation:
    """Appearance better by ``gain`` dB, motion worse by the shares ``regressions`` by domain, with a random ``spread``.

    The first ``missing`` clips of a domain have no value.
    """
    noise, scores = np.random.default_rng(seed), dict[tuple[str, str], list[float | None]]()
    for number, domain in enumerate(DOMAINS):
        base = np.random.default_rng(100 + number).gamma(9.0, 0.1, clips)
        worse = base * (1 + (regressions or {}).get(domain, 0.0)) * (1 + spread * noise.normal(size=clips))
        scores[domain, MOTION] = [None] * (missing or {}).get(domain, 0) + list(worse[(missing or {}).get(domain, 0) :])
        scores[domain, APPEARANCE] = list(20 + base + gain + 0.1 * noise.normal(size=clips))
    return evaluation(scores)


BASE = model(seed=7)


def decide(candidate: Evaluation, rule: PromotionRule = RULE, **earlier: Evaluation) -> PromotionDecision:
    return decide_promotion(candidate, earlier or {"base": BASE}, rule)


def domain_check(decision: PromotionDecision, domain: str) -> PromotionCheck:
    (check,) = (check for check in decision.checks if check.comparison.domain == domain and check.tolerance is not None)
    return check


def test_an_improved_model_without_regressions_is_promoted() -> None:
    decision = decide(model(gain=0.5))
    assert decision.is_promoted and not decision.failed
    assert [check.state for check in decision.checks] == ["improved"] + ["retained"] * len(DOMAINS)


def test_a_regression_in_one_domain_prevents_promotion() -> None:
    decision = decide(model(gain=3.0, regressions={"orbit": 0.4}))
    assert not decision.is_promoted
    (check,) = decision.failed
    assert (check.state, check.comparison.domain, check.comparison.measure) == ("regressed", "orbit", MOTION)
    assert check.comparison.change is not None and check.comparison.change.regression == pytest.approx(0.4, abs=0.02)


def test_driving_motion_is_checked_too() -> None:
    assert domain_check(decide(model(gain=3.0, regressions={"driving-day": 0.4})), "driving-day").state == "regressed"


def test_a_regression_within_the_tolerance_passes() -> None:
    assert decide(model(gain=0.5, regressions={"orbit": 0.02}, spread=0.005)).is_promoted


def test_an_uncertain_regression_prevents_promotion_though_its_mean_is_within_the_tolerance() -> None:
    decision = decide(model(gain=0.5, spread=0.2))
    checks = [
        check for check in decision.failed if check.comparison.change and check.comparison.change.regression < 0.05
    ]
    assert checks and {check.state for check in checks} == {"inconclusive"}
    assert all(check.reason == "a regression of more than 5 % is not excluded" for check in checks)


@pytest.mark.parametrize(("gain", "state"), [(0.0, "inconclusive"), (-1.0, "worse")])
def test_without_improvement_there_is_no_promotion(gain: float, state: str) -> None:
    (check,) = decide(model(gain=gain)).failed
    assert (check.state, check.comparison.domain, check.tolerance) == (state, "driving", None)


def test_too_few_clips_prevent_promotion() -> None:
    decision = decide(model(gain=0.5, missing={"walkers": 3}))
    assert [check.reason for check in decision.failed] == ["both models have values on 7 of 10 clips, 8 are needed"]
    assert decision.failed[0].state == "inconclusive"


def test_clips_that_lose_their_value_prevent_promotion() -> None:
    decision = decide(model(gain=0.5, missing={"walkers": 2}))
    assert [check.reason for check in decision.failed] == ["2 clips that had a value have none now"]
    assert decide(model(gain=0.5, missing={"walkers": 1})).is_promoted


def test_a_measure_without_an_earlier_value_is_reported_and_not_checked() -> None:
    def with_boxes(model: Evaluation, orbit: float | None) -> Evaluation:
        boxes = evaluation({(d, BOXES): [orbit if d == "orbit" else 0.5] * 10 for d in DOMAINS})
        return Evaluation(protocol=model.protocol, values=(*model.values, *boxes.values))

    rule = PromotionRule(**{name: getattr(RULE, name) for name in RULE.__slots__} | {"dynamics": (MOTION, BOXES)})
    decision = decide(with_boxes(model(gain=0.5), None), rule, base=with_boxes(BASE, None))
    assert decision.is_promoted
    assert decision.unmeasured == (("orbit", BOXES),)


def test_a_domain_without_earlier_values_prevents_promotion() -> None:
    unmeasured = model(seed=7, missing={"orbit": 10})
    (check,) = decide(model(gain=0.5), base=unmeasured).failed
    assert (check.state, check.comparison.domain, check.comparison.num_pairs) == ("inconclusive", "orbit", 0)


def test_a_domain_that_the_candidate_lacks_prevents_promotion() -> None:
    candidate = model(gain=0.5)
    fewer = Evaluation(protocol="p1", values=tuple(v for v in candidate.values if v.domain != "walkers"))
    (check,) = decide(fewer).failed
    assert (check.state, check.comparison.domain) == ("inconclusive", "walkers")


def test_small_regressions_do_not_accumulate() -> None:
    champion = model(regressions={"orbit": 0.04}, spread=0.001, seed=1)
    next_one = model(gain=0.5, regressions={"orbit": 0.081}, spread=0.001, seed=2)
    assert decide(next_one, champion=champion).is_promoted
    (check,) = decide(next_one, champion=champion, base=BASE).failed
    assert (check.baseline, check.comparison.domain, check.state) == ("base", "orbit", "regressed")


def test_only_the_first_model_has_to_be_improved_on() -> None:
    champion, base = model(gain=0.5, seed=1), model(gain=2.0, seed=2)
    assert decide(model(gain=1.0), champion=champion, base=base).is_promoted


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"improve": "fvd"}, "the evaluation has no measure fvd; there are next_frame/psnr, points/static"),
        ({"dynamics": (MOTION, "flow")}, "the evaluation has no measure flow"),
        (
            {"driving_domains": ("street*",)},
            r"no domain of the evaluation matches driving_domains street\*; there are driving-day",
        ),
    ],
)
def test_a_rule_with_unknown_measures_or_domains_is_an_error(change: dict[str, object], message: str) -> None:
    rule = PromotionRule(**{name: getattr(RULE, name) for name in RULE.__slots__} | change)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=message):
        decide(model(), rule)
