"""The answers of the page, in sentences that follow from the intervals."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from driveforge.pipelines.studies.downstream.arms import ALL_GENERATED, MORE_REAL, REJECTED, Arm
from driveforge.pipelines.studies.downstream.comparisons import Comparison, GeneratorSummary
from driveforge.pipelines.studies.downstream.estimates import HELPS, HURTS, UNCLEAR
from driveforge.pipelines.studies.downstream.evaluation import MAIN_METRICS
from driveforge.pipelines.studies.downstream.generators import ACCEPTED, SIMULATOR

WORDS = {HELPS: "better", HURTS: "worse", UNCLEAR: "cannot tell"}


def answers(comparison: Comparison, summaries: Sequence[GeneratorSummary]) -> Iterator[str]:
    """What would help at best, whether generated clips do, and which; a sentence or two each."""
    yield _count(comparison)
    for what, words in ((MORE_REAL, "more real clips"), (SIMULATOR, "clips of the same commands by the simulator")):
        arm = comparison.largest(what)
        yield f"With {arm.count} {words}, against real only: {_gains(comparison, arm)}."
    for summary in summaries:
        accepted = comparison.largest_or_none(ACCEPTED, summary.name)
        if accepted is None:
            yield f"The gate accepts no clip of the {summary.name}."
            continue
        gains = _gains(comparison, accepted)
        yield f"With {accepted.count} accepted clips of the {summary.name}, against real only: {gains}."
        yield from _against(comparison, summary.name)
    yield from (_begins(comparison, summaries, metric) for metric in MAIN_METRICS)
    widths = ", ".join(f"{_half_width(comparison, metric):.3f} in {metric}" for metric in MAIN_METRICS)
    yield f"Effects smaller than about {widths} cannot be told with so many clips, steps and seeds."


def _count(comparison: Comparison) -> str:
    """In how many comparisons accepted clips are better than all."""
    pairs = [pair for pair in comparison.pairs() if pair.other.what == ALL_GENERATED]
    found = Counter(
        comparison.difference(pair.arm, pair.other, metric).verdict for pair in pairs for metric in MAIN_METRICS
    )
    counts = f"better in {found[HELPS]}, worse in {found[HURTS]}, and cannot be told in {found[UNCLEAR]}"
    return (
        f"Accepted clips instead of all clips, at equal steps: {counts} of {found.total()} comparisons of generators, "
        "numbers of clips and metrics, which are not independent. Without any effect, one in twenty would be better or "
        "worse."
    )


def _half_width(comparison: Comparison, metric: str) -> float:
    """The median half width of the intervals of gains."""
    gains = [comparison.gain(arm, metric) for arm in comparison.arms[1:]]
    return float(np.median([(gain.high - gain.low) / 2 for gain in gains]))


def _gains(comparison: Comparison, arm: Arm) -> str:
    return _differences(comparison, arm, comparison.real)


def _differences(comparison: Comparison, arm: Arm, other: Arm) -> str:
    found = [(metric, comparison.difference(arm, other, metric)) for metric in MAIN_METRICS]
    return "; ".join(f"{metric} {one.format()}, {WORDS[one.verdict]}" for metric, one in found)


def _against(comparison: Comparison, generator: str) -> Iterator[str]:
    """Accepted clips instead of all and of rejected ones, and what rejected ones do."""
    for equal in (False, True):
        arms = [comparison.find(what, generator, equal=equal) for what in (ACCEPTED, ALL_GENERATED)]
        accepted, everything = arms
        if accepted is not None and everything is not None:
            yield (
                f"Accepted clips of the {generator} instead of all ({accepted.count}, {everything.count}), at equal "
                f"steps: {_differences(comparison, accepted, everything)}."
            )
    accepted, rejected = (comparison.find(what, generator, equal=True) for what in (ACCEPTED, REJECTED))
    if accepted is not None and rejected is not None:
        yield (
            f"Accepted clips of the {generator} instead of rejected ones ({accepted.count}, {rejected.count}): "
            f"{_differences(comparison, accepted, rejected)}. Rejected clips, against real only: "
            f"{_gains(comparison, rejected)}."
        )


def _begins(comparison: Comparison, summaries: Sequence[GeneratorSummary], metric: str) -> str:
    """From which generator on accepted clips help, in the order of their distance from the simulator."""
    ordered = sorted(summaries, key=lambda one: one.psnr)
    verdicts = [
        (one, comparison.gain(arm, metric).verdict)
        for one in ordered
        if (arm := comparison.largest_or_none(ACCEPTED, one.name)) is not None
    ]
    helping = [one for one, verdict in verdicts if verdict == HELPS]
    if helping:
        first, count = helping[0], len(ordered)
        tried = (
            "the only generator that was tried" if count == 1 else f"{ordered.index(first) + 1} of {count} from below"
        )
        return (
            f"For {metric}, accepted clips help from the quality of the {first.name} on ({tried}): {first.psnr:.1f} dB "
            "from the simulator."
        )
    hurting = [one.name for one, verdict in verdicts if verdict == HURTS]
    found = f"accepted clips of the {' and the '.join(hurting)} hurt" if hurting else "no generator helps measurably"
    return f"For {metric}, {found}; {_limit(comparison, metric)}."


def _limit(comparison: Comparison, metric: str) -> str:
    """What would have to change for a gain, by what the simulator and more real clips do."""
    real, perfect = (comparison.largest(what) for what in (MORE_REAL, SIMULATOR))
    verdict = comparison.gain(perfect, metric).verdict
    if verdict == HELPS:
        return "the simulator helps, so the limit is the quality of the pictures, not the edits"
    if verdict == HURTS:
        return "a perfect generator hurts too, so the edits are the limit, not the pictures"
    better = comparison.difference(real, perfect, metric).verdict == HELPS
    if better and comparison.gain(real, metric).verdict == HELPS:
        return "more real clips help, and more than a perfect generator: what lacks is the variety of other drives"
    return "nor can it be told of a perfect generator and of more real clips: the study is too small for this metric"
