"""Whether replay meets the target, by the bounds of the intervals and not by the means."""

from collections.abc import Sequence

from driveforge.pipelines.studies.forgetting import results
from driveforge.pipelines.studies.forgetting.results import Estimate, KeyMetrics, StudyMetric
from driveforge.pipelines.studies.forgetting.runs import RunResult
from driveforge.pipelines.studies.forgetting.variants import Variant

# The target: recovered share of the lost dynamics, and share of the naive gain in appearance that may be lost.
MIN_RECOVERED, MAX_COST = 0.80, 0.05
# A single run has no interval over runs.
MIN_RUNS = 2
YES, NO, CANNOT_TELL = "yes", "no", "cannot tell"

_QUESTION = f"""Target: at least {MIN_RECOVERED:.0%} of what naive fine-tuning loses in other domains is recovered, at a
cost of at most {MAX_COST:.0%} of what it gains in driving. "Yes" means that the whole 95 % interval meets the target,
"no" that the whole interval misses it, and "cannot tell" anything else. There is no share of a loss or gain of naive
fine-tuning that is not significant. An interval of the Frechet distance, which is one number a run, covers runs but not
clips, and intervals over few runs are too short.
"""


def format_answer(
    run_results: Sequence[RunResult], groups: Sequence[Sequence[Variant]], key_metrics: KeyMetrics
) -> str:
    """A table with the verdict of every fixed share that has several runs, by every pair of metrics.

    A naive variant leads each group.
    """
    lines = [
        "| strategy | loss in other domains | gain in driving | recovered | gain kept | recovers 80% | costs at most "
        "5% | both |",
        "| --- |" + " --- |" * 7,
    ]
    for naive, *others in groups:
        for name in results.names_with_runs(run_results, [variant for variant in others if variant.is_fixed_replay]):
            for dynamics, visual in (
                _pairs(key_metrics) if len(results.list_seeds(run_results, name)) >= MIN_RUNS else ()
            ):
                lines.append(_format_row(run_results, name, naive.name, dynamics, visual))
    return "\n".join([_QUESTION, *lines]) + "\n"


def _pairs(key_metrics: KeyMetrics) -> tuple[tuple[StudyMetric, StudyMetric], ...]:
    return (
        (key_metrics.dynamics, key_metrics.visual),
        (key_metrics.dynamics_psnr, key_metrics.visual_psnr),
        (key_metrics.dynamics_loss, key_metrics.visual_loss),
    )


def _format_row(
    run_results: Sequence[RunResult], name: str, naive: str, dynamics: StudyMetric, visual: StudyMetric
) -> str:
    recovered = kept = None
    if results.change_from_base(run_results, naive, dynamics).high < 0:
        recovered = results.recovered_share(run_results, name, naive, dynamics)
    if results.change_from_base(run_results, naive, visual).low > 0:
        kept = results.retained_share(run_results, name, naive, visual)
    recovers, is_cheap = judge(recovered, MIN_RECOVERED), judge(kept, 1 - MAX_COST)
    shares = ("" if share is None else format_estimate(share, ".0%") for share in (recovered, kept))
    return (
        f"| {' | '.join((name, dynamics.label, visual.label, *shares, recovers, is_cheap))} "
        f"| {judge_both(recovers, is_cheap)} |"
    )


def judge(share: Estimate | None, least: float) -> str:
    """Whether ``share`` is at least ``least``, by its interval; None is the share of a change that is not there."""
    if share is None:
        return CANNOT_TELL
    if share.low >= least:
        return YES
    return NO if share.high < least else CANNOT_TELL


def judge_both(first: str, second: str) -> str:
    """Whether both verdicts are yes: a single no decides."""
    if NO in (first, second):
        return NO
    return YES if first == second == YES else CANNOT_TELL


def format_estimate(found: Estimate, form: str = "+.3g") -> str:
    return f"{found.mean:{form}} ({found.low:{form}} to {found.high:{form}})"
