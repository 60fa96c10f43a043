"""The blind audit: reviewers judge a random share of clips without the gate's verdict, which measures the gate."""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from driveforge.pipelines.review.decisions import ReviewDecision, agree, current_decisions
from driveforge.validation.proportion import wilson_interval

# Of each of the two proportions behind the miss rate, so that both hold at once with 95 %.
_JOINT_CONFIDENCE = math.sqrt(0.95)


@dataclass(frozen=True, kw_only=True, slots=True)
class Proportion:
    """``count`` of ``total`` with its 95 % interval; ``estimate`` may be weighted. None of them without trials."""

    count: int
    total: int
    estimate: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.estimate:.0f} % (95 % interval {100 * self.low:.0f} to {100 * self.high:.0f} %)"


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditEstimate:
    """What the audit says about a gate: ``num_judged`` of ``num_sampled`` clips have a verdict.

    ``precision`` is the share of good clips among accepted ones; ``false_rejects`` that among clips that were not
    accepted; ``miss_rate`` is the share of broken clips that the gate accepts. None if it cannot be estimated yet.
    """

    num_sampled: int
    num_judged: int
    precision: Proportion | None
    false_rejects: Proportion | None
    miss_rate: Proportion | None

    def describe(self) -> str:
        """The estimates as a sentence; "" without any."""
        parts = [
            f"precision {self.precision} from {self.precision.total} accepted clips" if self.precision else "",
            f"miss rate {self.miss_rate}" if self.miss_rate else "",
        ]
        found = ", ".join(part for part in parts if part)
        return f"Blind audit, {self.num_judged} of {self.num_sampled} clips judged: {found}" if found else ""


def audit_sample(states: Mapping[str, str], share: float, seed: int) -> list[str]:
    """The clips of the audit in a random order: ``share`` of the accepted clips, and as many of the others.

    ``states`` has the gate's state of every clip. The order is a function of the seed and the clip ids, and a larger
    share adds clips to the sample of a smaller one. The sample of the others makes the miss rate measurable, and
    without it a reviewer would know that every clip was accepted.
    """
    order = sorted(states, key=lambda clip: _rank(clip, seed))
    accepted = [clip for clip in order if states[clip] == "accepted"]
    others = [clip for clip in order if states[clip] != "accepted"]
    count = math.ceil(share * len(accepted)) if accepted else math.ceil(share * len(others))
    sample = {*accepted[:count], *others[:count]}
    return [clip for clip in order if clip in sample]


def _rank(clip: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{clip}".encode()).digest()


def blind_verdicts(decisions: Iterable[ReviewDecision]) -> dict[str, str]:
    """The reviewers' verdict "accept" or "reject" on every clip that was judged blind.

    Of each reviewer, the last verdict before the first one that was not blind counts: later ones know the gate's.
    """
    by_reviewer: dict[tuple[str, str], list[ReviewDecision]] = {}
    for decision in decisions:
        by_reviewer.setdefault((decision.clip, decision.reviewer), []).append(decision)
    blind = (list(takewhile(lambda one: one.blind, made))[-1:] for made in by_reviewer.values())
    agreed = {
        clip: agree(of_clip.values())
        for clip, of_clip in current_decisions(one for last in blind for one in last).items()
    }
    return {clip: verdict for clip, verdict in agreed.items() if verdict}


def estimate_audit(states: Mapping[str, str], sample: Sequence[str], verdicts: Mapping[str, str]) -> AuditEstimate:
    """The estimates from the blind ``verdicts`` on the clips of ``sample``."""
    judged = [clip for clip in sample if clip in verdicts]
    accepted = [verdicts[clip] for clip in judged if states[clip] == "accepted"]
    others = [verdicts[clip] for clip in judged if states[clip] != "accepted"]
    num_accepted = sum(state == "accepted" for state in states.values())
    return AuditEstimate(
        num_sampled=len(sample),
        num_judged=len(judged),
        precision=_proportion(accepted.count("accept"), len(accepted)),
        false_rejects=_proportion(others.count("accept"), len(others)),
        miss_rate=_miss_rate(accepted, others, num_accepted, len(states) - num_accepted),
    )


def _proportion(count: int, total: int) -> Proportion | None:
    if not total:
        return None
    low, high = wilson_interval(count, total)
    return Proportion(count=count, total=total, estimate=count / total, low=low, high=high)


def _miss_rate(accepted: Sequence[str], others: Sequence[str], num_accepted: int, num_others: int) -> Proportion | None:
    """The share of broken clips that are accepted, each stratum weighted by its size.

    The interval follows from Wilson intervals of both strata that hold at once: it is at least a 95 % interval.
    """
    missed, caught = accepted.count("reject"), others.count("reject")
    if not accepted or not (others or num_others == 0) or missed + caught == 0:
        return None
    in_accepted = [num_accepted * share for share in _with_interval(missed, len(accepted))]
    in_others = [num_others * share for share in _with_interval(caught, len(others))] if others else [0.0] * 3
    return Proportion(
        count=missed,
        total=missed + caught,
        estimate=_share(in_accepted[0], in_others[0]),
        low=_share(in_accepted[1], in_others[2]),
        high=_share(in_accepted[2], in_others[1]),
    )


def _with_interval(count: int, total: int) -> tuple[float, float, float]:
    return count / total, *wilson_interval(count, total, _JOINT_CONFIDENCE)


def _share(part: float, rest: float) -> float:
    return part / (part + rest) if part + rest > 0 else 0.0
