"""The answers of the page, in sentences that follow from the intervals."""

from collections.abc import Iterator, Sequence

from driveforge.pipelines.studies.downstream.arms import ALL_GENERATED, MORE_REAL, Arm
from driveforge.pipelines.studies.downstream.comparisons import Comparison, GeneratorSummary
from driveforge.pipelines.studies.downstream.estimates import HELPS, HURTS, UNCLEAR, Estimate
from driveforge.pipelines.studies.downstream.evaluation import LANES, OBJECTS
from driveforge.pipelines.studies.downstream.generators import ACCEPTED, SIMULATOR

WORDS = {HELPS: "better", HURTS: "worse", UNCLEAR: "cannot tell"}
METRICS = (OBJECTS, LANES)


def answers(comparison: Comparison, summaries: Sequence[GeneratorSummary]) -> Iterator[str]:
    """One sentence or two for each question: what would help at best, whether generated clips do, and which."""
    for arm in (comparison.largest(MORE_REAL), comparison.largest(SIMULATOR)):
        yield f"{arm.title} ({arm.count} clips) against real only: {_gains(comparison, arm)}."
    for summary in summaries:
        accepted = comparison.largest_or_none(ACCEPTED, summary.name)
        if accepted is None:
            yield f"The gate accepts no clip of the {summary.name}."
            continue
        yield f"{accepted.title} ({accepted.count} clips) against real only: {_gains(comparison, accepted)}."
        everything = comparison.largest(ALL_GENERATED, summary.name)
        yield (
            f"Accepted against all clips of the {summary.name}, at equal steps: "
            f"{_words(comparison.difference(accepted, everything, metric) for metric in METRICS)}. " + _why(summary)
        )
    yield from (_begins(comparison, summaries, metric) for metric in METRICS)


def _gains(comparison: Comparison, arm: Arm) -> str:
    return _words(comparison.gain(arm, metric) for metric in METRICS)


def _words(found: Iterator[Estimate]) -> str:
    return "; ".join(
        f"{metric} {one.format()}, {WORDS[one.verdict]}" for metric, one in zip(METRICS, found, strict=True)
    )


def _why(summary: GeneratorSummary) -> str:
    """How different the compared sets can be."""
    share = summary.num_accepted / summary.num_clips
    return f"The gate accepts {share:.0%}: the sets share that many clips."


def _begins(comparison: Comparison, summaries: Sequence[GeneratorSummary], metric: str) -> str:
    """From which quality of the generator on accepted clips help, in the order of their distance from the simulator."""
    ordered = sorted(summaries, key=lambda one: one.psnr)
    verdicts = [
        (one, comparison.gain(arm, metric).verdict)
        for one in ordered
        if (arm := comparison.largest_or_none(ACCEPTED, one.name)) is not None
    ]
    helping = [one for one, verdict in verdicts if verdict == HELPS]
    perfect = comparison.gain(comparison.largest(SIMULATOR), metric).verdict
    if helping:
        return (
            f"For {metric}, accepted clips help from the quality of the {helping[0].name} on "
            f"({helping[0].psnr:.1f} dB from the simulator), of {len(ordered)} generators tried."
        )
    hurting = [one.name for one, verdict in verdicts if verdict == HURTS]
    found = f"accepted clips of {' and '.join(hurting)} make them worse" if hurting else "no generator's clips help"
    limit = {
        HELPS: "the simulator's do, so the limit is the quality of the pictures, not the edits",
        UNCLEAR: "whether a perfect generator would help cannot be told with these edits either",
        HURTS: "those of a perfect generator make them worse too: the edits are the limit, not the pictures",
    }[perfect]
    return f"For {metric}, {found} measurably; {limit}."
