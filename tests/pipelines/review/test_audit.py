"""The blind audit: which clips are judged, and what their verdicts say about the gate."""

import numpy as np
import pytest

from driveforge.pipelines.review.audit import audit_sample, blind_verdicts, estimate_audit
from tests.pipelines.review.test_decisions import decision

STATES = {f"clip-{n}": "accepted" if n < 200 else "rejected" if n < 500 else "unmeasured" for n in range(600)}


def test_the_sample_is_random_by_its_seed_and_mixes_both_kinds() -> None:
    sample = audit_sample(STATES, 0.1, 0)
    accepted = [clip for clip in sample if STATES[clip] == "accepted"]
    assert len(accepted) == 20 and len(sample) == 40 and len(set(sample)) == 40
    assert sample == audit_sample(dict(reversed(STATES.items())), 0.1, 0), "it does not depend on the order of the run"
    assert set(sample) < set(audit_sample(STATES, 0.2, 0)), "a larger share keeps what was judged"
    assert set(sample) != set(audit_sample(STATES, 0.1, 1))
    first = [STATES[clip] == "accepted" for clip in sample[:20]]
    assert 3 < sum(first) < 17, "the order does not tell the verdict"
    assert audit_sample(STATES, 0.0, 0) == []


def test_every_clip_is_as_likely_to_be_sampled() -> None:
    counts = dict.fromkeys(STATES, 0)
    for seed in range(400):
        for clip in audit_sample(STATES, 0.1, seed):
            counts[clip] += 1
    accepted = [counts[clip] for clip in STATES if STATES[clip] == "accepted"]
    assert np.mean(accepted) == 40 and min(accepted) > 15 and max(accepted) < 70


def test_precision_and_miss_rate_are_those_of_the_strata() -> None:
    """Of 200 accepted clips 10 % are broken, of 400 others 80 %: 20 of 340 broken clips are missed."""
    sample = audit_sample(STATES, 0.5, 0)
    accepted = [clip for clip in sample if STATES[clip] == "accepted"]
    others = [clip for clip in sample if STATES[clip] != "accepted"]
    verdicts = {clip: "reject" if n % 10 == 0 else "accept" for n, clip in enumerate(accepted)}
    verdicts |= {clip: "accept" if n % 5 == 0 else "reject" for n, clip in enumerate(others)}
    found = estimate_audit(STATES, sample, verdicts)
    assert found.precision and found.miss_rate and found.false_rejects
    assert (found.num_sampled, found.num_judged) == (200, 200)
    assert (found.precision.count, found.precision.total, found.precision.estimate) == (90, 100, 0.9)
    # Wilson's interval of 90 in 100.
    assert found.precision.low == pytest.approx(0.8256, abs=1e-3)
    assert found.precision.high == pytest.approx(0.9448, abs=1e-3)
    assert found.false_rejects.estimate == pytest.approx(0.2)
    assert found.miss_rate.estimate == pytest.approx(20 / 340)
    assert found.miss_rate.low < 20 / 340 < found.miss_rate.high < 0.13
    assert found.describe().startswith(
        "Blind audit, 200 of 200 clips judged: precision 90 % (95 % interval 83 to 94 %)"
    )


def test_the_interval_of_the_miss_rate_holds() -> None:
    """In at least 95 % of simulated audits, the true miss rate lies in the interval."""
    rng, held = np.random.default_rng(0), 0
    is_broken = {clip: rng.random() < (0.2 if STATES[clip] == "accepted" else 0.7) for clip in STATES}
    broken = [clip for clip in STATES if is_broken[clip]]
    truth = sum(STATES[clip] == "accepted" for clip in broken) / len(broken)
    for seed in range(200):
        sample = audit_sample(STATES, 0.2, seed)
        found = estimate_audit(STATES, sample, {c: "reject" if is_broken[c] else "accept" for c in sample}).miss_rate
        held += found is not None and found.low <= truth <= found.high
    assert held >= 190


def test_without_verdicts_there_is_no_estimate() -> None:
    found = estimate_audit(STATES, audit_sample(STATES, 0.1, 0), {})
    assert (found.num_judged, found.precision, found.miss_rate, found.describe()) == (0, None, None, "")
    clip = next(clip for clip in STATES if STATES[clip] == "accepted")
    only_accepted = estimate_audit(STATES, [clip], {clip: "reject"})
    assert only_accepted.precision and only_accepted.precision.estimate == 0.0
    assert only_accepted.miss_rate is None, "nothing is known of the rejected clips"


def test_only_verdicts_that_were_blind_count() -> None:
    made = [
        decision("a", "reject", blind=True), decision("a", "accept"),  # changed after the gate's verdict was seen
        decision("b", "accept"), decision("b", "reject", blind=True),  # seen before
        decision("c", "accept", blind=True), decision("c", "reject", blind=True),
        decision("d", "accept", blind=True), decision("d", "reject", "ben", blind=True),
        decision("e", "unsure", blind=True), decision("f", "accept", blind=True), decision("f", "cleared", blind=True),
    ]  # fmt: skip
    assert blind_verdicts(made) == {"a": "reject", "c": "reject", "d": "reject"}
