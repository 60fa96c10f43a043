"""What the trials of the validator study come to: AUROC, detection and false rejects, ours and our peers'."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from driveforge.pipelines.studies.validator.baselines.catalogue import PEERS
from driveforge.pipelines.studies.validator.trials import Trial
from driveforge.validation.calibration import Calibration
from driveforge.validation.cross_conformal import calibrate
from driveforge.validation.verdict import judge

RATE = 0.01
OURS = "ours"


@dataclass(frozen=True, kw_only=True, slots=True)
class Promise:
    """What is wanted of each of ``cases``, kind and level: an AUROC and a share detected, at 256 rows."""

    auroc: float
    detected: float
    cases: tuple[tuple[str, str], ...]


PROMISES = (
    Promise(
        auroc=0.99,
        detected=0.99,
        cases=(
            ("yaw-rate", "between"),
            ("pose-jitter", "between"),
            ("freeze", "strong"),
            ("shuffle", "strong"),
            ("cut", "strong"),
            ("reverse", "strong"),
            ("local-warp", "strong"),
        ),
    ),
    Promise(
        auroc=0.97,
        detected=0.95,
        cases=(
            ("lateral-drift", "between"),
            ("object-teleport", "strong"),
            ("vanish", "strong"),
            ("identity-swap", "strong"),
        ),
    ),
    Promise(
        auroc=0.95,
        detected=0.90,
        cases=(("object-drift", "strong"), ("never-drawn", "strong"), ("camera-yaw", "strong")),
    ),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One corruption at one strength: AUROC against good clips by each judge, and the share the gate let not pass."""

    kind: str
    level: str
    num_clips: int
    auroc: Mapping[str, float]
    detected: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """Of ``total`` audited good clips: those rejected, and those where something called for could not be measured."""

    rejected: int
    unmeasured: int
    total: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What the study found of one sort of clips; ``refused``: what became of audited good ones, by condition."""

    title: str
    calibration: Calibration
    refused: Mapping[str, Refused]
    table: tuple[Row, ...]
    seconds: float


def evaluate(title: str, trials: Sequence[Trial], num_good: int) -> Result:
    """The first ``num_good`` good clips are calibrated on; the other ones are audited."""
    good = [trial for trial in trials if not trial.kind]
    to_calibrate, audited = good[:num_good], good[num_good:]
    limits = calibrate([trial.measures for trial in to_calibrate], name=title, false_reject_rate=RATE)
    spoilt = defaultdict(list)
    for trial in trials:
        if trial.kind:
            spoilt[trial.kind, trial.level].append(trial)
    return Result(
        title=title,
        calibration=limits,
        refused=_refused(audited, limits),
        table=tuple(_row(kind, level, some, audited, limits) for (kind, level), some in spoilt.items()),
        seconds=float(np.median([trial.seconds for trial in trials])),
    )


def _refused(audited: Iterable[Trial], limits: Calibration) -> dict[str, Refused]:
    states: dict[str, list[str]] = defaultdict(list)
    for trial in audited:
        around = trial.measures.circumstances
        for name in {"all", trial.condition, trial.variant} | ({around.motion} if around else set()):
            states[name].append(judge(trial.measures, limits).state)
    return {
        name: Refused(rejected=some.count("rejected"), unmeasured=some.count("unmeasured"), total=len(some))
        for name, some in sorted(states.items())
    }


def _row(kind: str, level: str, spoilt: Sequence[Trial], good: Sequence[Trial], limits: Calibration) -> Row:
    ours = auroc([limits.score(t.measures) for t in good], [limits.score(t.measures) for t in spoilt])
    return Row(
        kind=kind,
        level=level,
        num_clips=len(spoilt),
        auroc={OURS: ours, **{name: auroc(_peer(name, good), _peer(name, spoilt)) for name in PEERS}},
        detected=float(np.mean([judge(trial.measures, limits).state != "accepted" for trial in spoilt])),
    )


def _peer(name: str, trials: Iterable[Trial]) -> list[float]:
    """What a peer says of the clips that it judged."""
    return [peer_score(trial.peers[name]) for trial in trials if trial.peers]


def peer_score(value: float | None) -> float:
    """A peer that cannot tell says that the clip is good."""
    return -np.inf if value is None else value


def auroc(good: Sequence[float], bad: Sequence[float]) -> float:
    """Probability that a bad clip scores higher than a good one, ties by half (Mann and Whitney 1947)."""
    ranks = rankdata([*good, *bad])
    return float((ranks[len(good) :].sum() - len(bad) * (len(bad) + 1) / 2) / (len(good) * len(bad)))


def mean_auroc(result: Result, level: str, judge_name: str = OURS, *, but: Collection[str] = ()) -> float:
    """Over all kinds at a level ``but`` some."""
    return float(np.mean([row.auroc[judge_name] for row in result.table if row.level == level and row.kind not in but]))
