from collections.abc import Mapping

import numpy as np
import pytest

from driveforge.datasets.errors import UserError
from driveforge.finetune.evaluation.promotion_rule import Check, Judgement, judge
from driveforge.finetune.evaluation.promotion_settings import Rule
from driveforge.finetune.evaluation.results import Probed
from tests.finetune.evaluation.probes import probed

LOOKS, MOTION, BOXES = "next/psnr", "points/static", "mover/ade"
RULE = Rule(improve=LOOKS, dynamics=(MOTION,), driving=("driving-*",), tolerance=0.05, confidence=0.95, min_clips=8)
DOMAINS = ("driving-day", "driving-dusk", "orbit", "walkers")


def model(
    gain: float = 0.0,
    falls: Mapping[str, float] | None = None,
    *,
    spread: float = 0.01,
    clips: int = 10,
    seed: int = 0,
    gone: Mapping[str, int] | None = None,
) -> Probed:
    """Looks of driving better by ``gain`` dB, motion worse by ``falls`` of the base's in a domain, up to a spread.

    The first ``gone`` clips of a domain cannot be measured.
    """
    noise, scores = np.random.default_rng(seed), dict[tuple[str, str], list[float | None]]()
    for number, domain in enumerate(DOMAINS):
        base = np.random.default_rng(100 + number).gamma(9.0, 0.1, clips)
        worse = base * (1 + (falls or {}).get(domain, 0.0)) * (1 + spread * noise.normal(size=clips))
        scores[domain, MOTION] = [None] * (gone or {}).get(domain, 0) + list(worse[(gone or {}).get(domain, 0) :])
        scores[domain, LOOKS] = list(20 + base + gain + 0.1 * noise.normal(size=clips))
    return probed(scores)


BASE = model(seed=7)


def verdict(candidate: Probed, rule: Rule = RULE, **earlier: Probed) -> Judgement:
    return judge(candidate, earlier or {"base": BASE}, rule)


def of(judgement: Judgement, domain: str) -> Check:
    (check,) = (check for check in judgement.checks if check.paired.domain == domain and check.tolerance is not None)
    return check


def test_what_improved_and_kept_its_motion_is_promoted() -> None:
    judgement = verdict(model(gain=0.5))
    assert judgement.promotes and not judgement.failed
    assert [check.state for check in judgement.checks] == ["improved"] + ["held"] * len(DOMAINS)


def test_motion_forgotten_in_one_domain_refuses_however_driving_improved() -> None:
    judgement = verdict(model(gain=3.0, falls={"orbit": 0.4}))
    assert not judgement.promotes
    (check,) = judgement.failed
    assert (check.state, check.paired.domain, check.paired.measure) == ("fell", "orbit", MOTION)
    assert check.paired.change is not None and check.paired.change.fall == pytest.approx(0.4, abs=0.02)


def test_driving_motion_is_guarded_too() -> None:
    assert of(verdict(model(gain=3.0, falls={"driving-day": 0.4})), "driving-day").state == "fell"


def test_a_fall_within_the_tolerance_passes() -> None:
    assert verdict(model(gain=0.5, falls={"orbit": 0.02}, spread=0.005)).promotes


def test_what_cannot_be_excluded_refuses_though_the_mean_is_within_the_tolerance() -> None:
    judgement = verdict(model(gain=0.5, spread=0.2))
    checks = [check for check in judgement.failed if check.paired.change and check.paired.change.fall < 0.05]
    assert checks and {check.state for check in checks} == {"cannot tell"}
    assert all(check.why == "a fall of more than 5 % is not excluded" for check in checks)


@pytest.mark.parametrize(("gain", "state"), [(0.0, "cannot tell"), (-1.0, "worse")])
def test_no_improvement_refuses(gain: float, state: str) -> None:
    (check,) = verdict(model(gain=gain)).failed
    assert (check.state, check.paired.domain, check.tolerance) == (state, "driving", None)


def test_few_clips_refuse_rather_than_pass() -> None:
    judgement = verdict(model(gain=0.5, gone={"walkers": 3}))
    assert [check.why for check in judgement.failed] == ["measured under both models on 7 of 10 clips, 8 are needed"]
    assert judgement.failed[0].state == "cannot tell"


def test_clips_that_can_no_longer_be_measured_refuse() -> None:
    judgement = verdict(model(gain=0.5, gone={"walkers": 2}))
    assert [check.why for check in judgement.failed] == ["2 clips that could be measured before cannot be any more"]
    assert verdict(model(gain=0.5, gone={"walkers": 1})).promotes


def test_a_measure_that_no_earlier_model_has_in_a_domain_is_not_guarded_there_and_told() -> None:
    def with_boxes(model: Probed, orbit: float | None) -> Probed:
        boxes = probed({(d, BOXES): [orbit if d == "orbit" else 0.5] * 10 for d in DOMAINS})
        return Probed(protocol=model.protocol, values=(*model.values, *boxes.values))

    rule = Rule(**{name: getattr(RULE, name) for name in RULE.__slots__} | {"dynamics": (MOTION, BOXES)})
    judgement = verdict(with_boxes(model(gain=0.5), None), rule, base=with_boxes(BASE, None))
    assert judgement.promotes
    assert judgement.unguarded == (("orbit", BOXES),)


def test_a_domain_of_which_nothing_is_known_refuses() -> None:
    blind = model(seed=7, gone={"orbit": 10})
    (check,) = verdict(model(gain=0.5), base=blind).failed
    assert (check.state, check.paired.domain, check.paired.num_pairs) == ("cannot tell", "orbit", 0)


def test_a_domain_that_was_not_probed_this_time_refuses() -> None:
    candidate = model(gain=0.5)
    fewer = Probed(protocol="p1", values=tuple(v for v in candidate.values if v.domain != "walkers"))
    (check,) = verdict(fewer).failed
    assert (check.state, check.paired.domain) == ("cannot tell", "walkers")


def test_small_falls_do_not_add_up_unseen() -> None:
    champion = model(falls={"orbit": 0.04}, spread=0.001, seed=1)
    next_one = model(gain=0.5, falls={"orbit": 0.081}, spread=0.001, seed=2)
    assert verdict(next_one, champion=champion).promotes
    (check,) = verdict(next_one, champion=champion, base=BASE).failed
    assert (check.against, check.paired.domain, check.state) == ("base", "orbit", "fell")


def test_only_the_first_has_to_be_improved_upon() -> None:
    champion, base = model(gain=0.5, seed=1), model(gain=2.0, seed=2)
    assert verdict(model(gain=1.0), champion=champion, base=base).promotes


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"improve": "fvd"}, "the probe has no measure fvd; there are next/psnr, points/static"),
        ({"dynamics": (MOTION, "flow")}, "the probe has no measure flow"),
        ({"driving": ("street*",)}, r"no domain of the probe is driving by street\*; there are driving-day"),
    ],
)
def test_a_rule_that_fits_no_probe_is_refused_in_words(change: dict[str, object], said: str) -> None:
    rule = Rule(**{name: getattr(RULE, name) for name in RULE.__slots__} | change)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=said):
        verdict(model(), rule)
