"""Two models under the same probe, compared clip by clip in one measure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from driveforge.datasets.errors import UserError
from driveforge.finetune.evaluation.intervals import ratio_interval
from driveforge.finetune.evaluation.metrics import MORE_IS_BETTER
from driveforge.finetune.evaluation.results import Probed, ProbeValue


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """From one model to another over pairs of clips; bounds as of ``ratio_interval``, infinite where there is none.

    ``before`` and ``after`` are means in the measure's unit, ``difference`` is after minus before. ``fall`` is how much
    worse it became, as a share of the mean before: below 0 it became better.
    """

    before: float
    after: float
    difference: float
    difference_bounds: tuple[float, float]
    fall: float
    fall_bounds: tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Paired:
    """``left_out`` has (clip id, why) of every clip that is in no pair; ``lost`` are those of them that could be
    measured before and cannot any more. ``change`` is None where there are no pairs."""

    measure: str
    domain: str
    num_pairs: int
    change: Change | None
    left_out: tuple[tuple[str, str], ...]
    lost: tuple[str, ...]


def compare(
    before: Probed,
    after: Probed,
    *,
    measure: str,
    domains: Collection[str],
    called: str,
    confidence: float,
    seed: int = 0,
) -> Paired:
    """The clips of ``domains``, together ``called`` so, under one model and under another, paired by clip id.

    A UserError where the two were not probed in the same way.
    """
    if before.protocol != after.protocol:
        raise UserError(
            f"the models were probed in different ways and cannot be compared: {before.protocol} and {after.protocol}; "
            "probe one of them anew"
        )
    old, new = _by_clip(before, measure, domains), _by_clip(after, measure, domains)
    pairs, left_out, lost = [], [], []
    for key in sorted(old.keys() | new.keys()):
        clip, a, b = key[1], _measured(old, key), _measured(new, key)
        if not isinstance(a, str) and not isinstance(b, str):
            pairs.append((a, b))
            continue
        told = [f"{when}: {what}" for when, what in (("before", a), ("after", b)) if isinstance(what, str)]
        left_out.append((clip, "; ".join(told)))
        if isinstance(b, str) and not isinstance(a, str):
            lost.append(clip)
    return Paired(
        measure=measure,
        domain=called,
        num_pairs=len(pairs),
        change=_change(pairs, sign_of(measure), confidence, seed) if pairs else None,
        left_out=tuple(left_out),
        lost=tuple(lost),
    )


def sign_of(measure: str) -> int:
    """1 where more is better, -1 where less is."""
    return 1 if measure in MORE_IS_BETTER else -1


def _by_clip(probed: Probed, measure: str, domains: Collection[str]) -> Mapping[tuple[str, str], ProbeValue]:
    return {(v.domain, v.clip_id): v for v in probed.values if v.measure == measure and v.domain in domains}


def _measured(values: Mapping[tuple[str, str], ProbeValue], key: tuple[str, str]) -> float | str:
    """The clip's value, or why there is none."""
    if key not in values:
        return "not probed"
    found = values[key]
    return found.why if found.value is None else found.value


def _change(pairs: Sequence[tuple[float, float]], sign: int, confidence: float, seed: int) -> Change:
    old, new = np.array(pairs, float).T
    ones, worse = np.ones(len(pairs)), sign * (old - new)
    before = float(old.mean())
    # A share of nothing: any fall from zero is without bounds, and no fall is none.
    fall, bounds = (0.0, (0.0, 0.0)) if not worse.any() else (np.copysign(np.inf, worse.mean()), (-np.inf, np.inf))
    if before > 0:
        fall, bounds = float(worse.mean()) / before, ratio_interval(worse, old, confidence, seed)
    return Change(
        before=before,
        after=float(new.mean()),
        difference=float((new - old).mean()),
        difference_bounds=ratio_interval(new - old, ones, confidence, seed),
        fall=float(fall),
        fall_bounds=bounds,
    )
