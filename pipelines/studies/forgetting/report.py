"""The pages of the forgetting study: tables in Markdown, and two pictures."""

from collections.abc import Sequence
from math import isnan
from pathlib import Path
from textwrap import fill

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from driveforge.datasets.files.atomic import atomic_file, write_atomic
from driveforge.pipelines.studies.forgetting import results
from driveforge.pipelines.studies.forgetting.footage import folder_domain
from driveforge.pipelines.studies.forgetting.results import Estimate, KeyMetrics, StudyMetric, make_key_metrics
from driveforge.pipelines.studies.forgetting.runs import RunResult
from driveforge.pipelines.studies.forgetting.settings import ForgettingStudy
from driveforge.pipelines.studies.forgetting.variants import (
    ADAPTIVE,
    BASE,
    HIGH_LR_VARIANTS,
    INTERPOLATE,
    NAIVE,
    SHARE_SWEEP,
    STILL,
    USUAL_SHARE,
    VARIANTS,
    Variant,
    replay_label,
)
from driveforge.pipelines.studies.forgetting.workspace import StudyWorkspace

# What was hoped for: share of the lost dynamics that replay gives back, and of naive's visual gain that it may cost.
MIN_RECOVERED, MAX_COST = 0.80, 0.05
LIGHT_GRAY, OTHER_COLOR = "#bbbbbb", "#6b7680"
COLORS = {NAIVE: "#c21d2c", replay_label(USUAL_SHARE): "#1f4e8c", ADAPTIVE: "#1d7a3e", INTERPOLATE: "#c77700"}


def write_report(path: Path, workspace: StudyWorkspace, run_results: Sequence[RunResult]) -> None:
    picture = path.with_suffix(".png")
    key_metrics = make_key_metrics(workspace.test_domains, has_objects=not workspace.study.other_footage)
    plot_results(picture, run_results, key_metrics)
    write_atomic(path, format_markdown(workspace.study, run_results, key_metrics, picture.name).encode())


def format_markdown(
    study: ForgettingStudy, run_results: Sequence[RunResult], key_metrics: KeyMetrics, picture: str
) -> str:
    return "\n".join(
        [
            _format_header(study, run_results),
            f"![What each way to fine-tune gains and loses]({picture})\n",
            "## Does it forget?\n",
            _format_forgetting(run_results, key_metrics),
            _format_high_lr(run_results, key_metrics),
            "## What helps\n",
            _format_strategies(run_results, VARIANTS, key_metrics),
            _WANTED,
            _format_comparisons(run_results, VARIANTS, key_metrics),
            *(
                _format_high_lr_strategies(run_results, key_metrics)
                if results.names_with_runs(run_results, HIGH_LR_VARIANTS)
                else ()
            ),
            "## Every quantity\n",
            _format_table(run_results, key_metrics),
        ]
    )


def _format_header(study: ForgettingStudy, run_results: Sequence[RunResult]) -> str:
    what, judged = _SIMULATED, f"{study.test_clips} clips of every domain"
    if study.driving_footage:
        driving, others = (
            ", ".join(folder_domain(video) for video in videos)
            for videos in (study.driving_footage, study.other_footage)
        )
        what = _REAL.format(driving=driving, others=others)
        judged = "the last part of the driving videos, whose clips overlap, and on the others"
    text = f"""Made by `python -m driveforge.pipelines.studies.forgetting`. For every seed a small world model learns
how things move in four simulated domains that are not driving ({study.base_steps} steps of {study.batch_size} clips).
{what} It is fine-tuned for {study.steps} steps in each way below, at equal steps and equal samples. Clips have
{study.num_frames} frames of {study.width} x {study.height} px at 10 Hz. All training is to go on from a few frames
without a command, so that motion has to come from the model. A run is judged once, on {judged} that nothing was trained
on or chosen by: four frames are given, the rest is generated. Adaptive shares and the points of interpolation go by
other clips. Changes are against the base of the same seed, clip by clip, above 0 where it became better; intervals hold
95 % of resamplings of both runs and clips. Judged with: {run_results[0].evaluation.protocol}."""
    title = f"# Study: what fine-tuning forgets{', on real footage' * bool(study.driving_footage)}"
    return f"{title}\n\n{fill(' '.join(text.split()), 120)}\n{_format_command(study)}"


def _format_command(study: ForgettingStudy) -> str:
    """How a study of footage is made again, where the folders of its videos lie."""
    if not study.driving_footage:
        return ""
    driving, others = (
        ",".join(f"{video.parent.name}/{video.name}" for video in videos)
        for videos in (study.driving_footage, study.other_footage)
    )
    settings = (
        f"driving_footage=[{driving}]",
        f"other_footage=[{others}]",
        f"num_seeds={study.num_seeds}",
        f"num_secondary_seeds={study.num_secondary_seeds}",
    )
    lines = ["python -m driveforge.pipelines.studies.forgetting", *(f"    {setting}" for setting in settings)]
    return "\n```sh\n" + " \\\n".join(lines) + "\n```\n"


_SIMULATED = "Then it sees simulated driving."
_REAL = """Then it sees real driving
({driving}), and is judged on real footage that is not driving ({others}); replay draws from the simulated domains."""


def _format_forgetting(run_results: Sequence[RunResult], key_metrics: KeyMetrics) -> str:
    changes = {metric: results.change_from_base(run_results, NAIVE, metric) for metric in key_metrics.all_metrics}
    lines = ["| quantity | still picture | base | naive | change |", "| --- | --- | --- | --- | --- |"]
    for metric, change_from_base in changes.items():
        levels = [results.mean_value(run_results, variant, metric) for variant in (STILL, BASE, NAIVE)]
        lines.append(
            f"| {metric.label} | {' | '.join(map(_format_number, levels))} | {_format_estimate(change_from_base)} |"
        )
    questions = (key_metrics.visual, key_metrics.visual_loss, key_metrics.dynamics, key_metrics.dynamics_loss)
    text = "; ".join(f"{metric.label}: {_format_direction(changes[metric])}" for metric in questions)
    return "\n".join(lines) + f"\n\nUnder naive fine-tuning, {text}.\n\n{_STILL}"


def _format_high_lr(run_results: Sequence[RunResult], key_metrics: KeyMetrics) -> str:
    """The same at a learning rate that forgets more."""
    metrics = (key_metrics.visual, key_metrics.visual_loss, key_metrics.dynamics, key_metrics.dynamics_loss)
    lines = ["| change | " + " | ".join(metric.label for metric in metrics) + " |", "| --- |" + " --- |" * 4]
    for name in results.names_with_runs(run_results, (VARIANTS[0], HIGH_LR_VARIANTS[0])):
        changes = [_format_estimate(results.change_from_base(run_results, name, metric)) for metric in metrics]
        lines.append(f"| {name} | {' | '.join(changes)} |")
    return "\n".join(lines) + "\n"


def _format_direction(change_from_base: Estimate) -> str:
    certain = "improved" if change_from_base.low > 0 else "got worse"
    return certain if change_from_base.is_certain else "did not change for certain"


_STILL = """The still picture repeats the last given frame. Beside it one sees how much a model of this size knows of
motion at all: a soft picture loses objects that a still one keeps.
"""


def _format_strategies(run_results: Sequence[RunResult], variants: Sequence[Variant], key_metrics: KeyMetrics) -> str:
    """What each of ``variants`` but the first, the naive one, changes against it."""
    naive = variants[0].name
    shown = all(
        results.change_from_base(run_results, naive, metric).is_certain
        for metric in (key_metrics.visual, key_metrics.dynamics)
    )
    lines = [
        "| way | runs | replayed | dynamics given back | of the visual gain kept | | loss elsewhere given back | of "
        "driving's loss gained kept |",
        "| --- |" + " --- |" * 7,
    ]
    for name in results.names_with_runs(run_results, variants[1:]):
        recovered, loss_recovered = (
            _recovered_share(run_results, name, naive, q) for q in (key_metrics.dynamics, key_metrics.dynamics_loss)
        )
        visual_kept, loss_kept = (
            results.retained_share(run_results, name, naive, q) for q in (key_metrics.visual, key_metrics.visual_loss)
        )
        passed = shown and recovered.mean >= MIN_RECOVERED and visual_kept.mean >= 1 - MAX_COST
        lines.append(
            f"| {name} | {len(results.list_seeds(run_results, name))} "
            f"| {results.replay_share(run_results, name):.1%} | {_format_estimate(recovered, '.0%')} | {_format_estimate(visual_kept, '.0%')} "
            f"| {'yes' if passed else ''} | {_format_estimate(loss_recovered, '.0%')} | {_format_estimate(loss_kept, '.0%')} |"
        )
    return "\n".join(lines) + "\n"


def _format_high_lr_strategies(run_results: Sequence[RunResult], key_metrics: KeyMetrics) -> tuple[str, ...]:
    head = f"## What helps at {HIGH_LR_VARIANTS[0].lr_factor:g} x the rate\n"
    return (
        head,
        _format_strategies(run_results, HIGH_LR_VARIANTS, key_metrics),
        _format_comparisons(run_results, HIGH_LR_VARIANTS, key_metrics),
    )


def _recovered_share(run_results: Sequence[RunResult], variant: str, naive: str, metric: StudyMetric) -> Estimate:
    """What of naive's loss a variant does not lose."""
    lost = results.retained_share(run_results, variant, naive, metric)
    return Estimate(mean=1 - lost.mean, low=1 - lost.high, high=1 - lost.low)


_WANTED = f""""Yes": at least {MIN_RECOVERED:.0%} of what naive fine-tuning loses is given back, at a cost of at most
{MAX_COST:.0%} of its visual gain, where both are certain at all. Where they are small, shares of them mean little.
"""


def _format_comparisons(run_results: Sequence[RunResult], variants: Sequence[Variant], key_metrics: KeyMetrics) -> str:
    """The questions that the table of remedies leaves to the reader, answered pair by pair."""
    names = {variant.label: variant.name for variant in variants}
    usual, adaptive, interpolated = (names[label] for label in (replay_label(USUAL_SHARE), ADAPTIVE, INTERPOLATE))
    fixed = [variant for variant in variants if variant.is_fixed_replay]
    best, best_by_loss = (
        results.best(run_results, fixed, metric) for metric in (key_metrics.dynamics, key_metrics.dynamics_loss)
    )
    lines = [
        "| | replayed | better dynamics | better loss elsewhere | better looks | better loss of driving |",
        "| --- |" + " --- |" * 5,
    ]
    pairs = dict.fromkeys([(usual, interpolated), (adaptive, usual), (adaptive, best), (adaptive, best_by_loss)])
    for ours, theirs in pairs:
        advantages = [
            results.advantage(run_results, ours, theirs, metric)
            for metric in (key_metrics.dynamics, key_metrics.dynamics_loss, key_metrics.visual, key_metrics.visual_loss)
        ]
        shares = " against ".join(f"{results.replay_share(run_results, name):.1%}" for name in (ours, theirs))
        lines.append(f"| {ours} against {theirs} | {shares} | {' | '.join(map(_format_estimate, advantages))} |")
    if len(results.names_with_runs(run_results, fixed)) > 1:
        lines.append(
            f"\nOf the fixed shares, {best} keeps most of how things move; {best_by_loss}, of the loss elsewhere."
        )
    return "\n".join(lines) + "\n"


def _format_table(run_results: Sequence[RunResult], key_metrics: KeyMetrics) -> str:
    names = [STILL, BASE, *results.names_with_runs(run_results, (*VARIANTS, *HIGH_LR_VARIANTS))]
    lines = ["| way | " + " | ".join(metric.label for metric in key_metrics.all_metrics) + " |"]
    lines.append("| --- |" + " --- |" * len(key_metrics.all_metrics))
    for name in names:
        levels = [results.mean_value(run_results, name, metric) for metric in key_metrics.all_metrics]
        lines.append(f"| {name} | " + " | ".join(map(_format_number, levels)) + " |")
    return "\n".join(lines) + "\n"


def _format_number(mean_value: float) -> str:
    return "" if isnan(mean_value) else f"{mean_value:.3g}"


def _format_estimate(found: Estimate, form: str = "+.3g") -> str:
    return f"{found.mean:{form}} ({found.low:{form}} to {found.high:{form}})"


def plot_results(path: Path, run_results: Sequence[RunResult], key_metrics: KeyMetrics) -> None:
    """Gains in driving against losses elsewhere, by the losses and by what is seen; and both losses over the share."""
    figure = Figure(figsize=(13, 10), layout="constrained", facecolor="white")
    panels = figure.subplots(2, 2)
    (of_loss, of_frames), (of_harder, over_share) = panels
    _plot_tradeoff(of_loss, run_results, VARIANTS, key_metrics.visual_loss, key_metrics.dynamics_loss)
    _plot_tradeoff(of_frames, run_results, VARIANTS, key_metrics.visual, key_metrics.dynamics)
    _plot_tradeoff(of_harder, run_results, HIGH_LR_VARIANTS, key_metrics.visual, key_metrics.dynamics)
    of_harder.set_title(f"against the base, at {HIGH_LR_VARIANTS[0].lr_factor:g} x the rate", fontsize=10, loc="left")
    _plot_share_sweep(over_share, run_results, key_metrics)
    for axes in panels.flat:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8.5, length=2)
    with atomic_file(path) as file:
        figure.savefig(file, dpi=100)


def _plot_tradeoff(
    axes: Axes,
    run_results: Sequence[RunResult],
    variants: Sequence[Variant],
    x_metric: StudyMetric,
    y_metric: StudyMetric,
) -> None:
    """Every way as a point with its intervals: the further right and up, the better."""
    label_of = {variant.name: variant.label for variant in variants}
    for name in results.names_with_runs(run_results, variants):
        right, high = (results.change_from_base(run_results, name, metric) for metric in (x_metric, y_metric))
        color = COLORS.get(label_of[name], OTHER_COLOR)
        axes.errorbar([right.mean], [high.mean], xerr=_error_bars(right), yerr=_error_bars(high), fmt="o", ms=5, lw=0.6,
                      color=color, alpha=0.75)  # fmt: skip
        axes.annotate(label_of[name], (right.mean, high.mean), xytext=(5, 4), textcoords="offset points", fontsize=8,
                      color=color)  # fmt: skip
    axes.axhline(0, color=LIGHT_GRAY, lw=1)
    axes.axvline(0, color=LIGHT_GRAY, lw=1)
    axes.set_xlabel(f"better {x_metric.label} \N{RIGHTWARDS ARROW}", fontsize=9)
    axes.set_ylabel(f"better {y_metric.label} \N{RIGHTWARDS ARROW}", fontsize=9)
    axes.set_title("against the base", fontsize=10, loc="left")


def _plot_share_sweep(axes: Axes, run_results: Sequence[RunResult], key_metrics: KeyMetrics) -> None:
    names = results.names_with_runs(run_results, SHARE_SWEEP)
    shares = [100 * results.replay_share(run_results, name) for name in names]
    for metric, color in (
        (key_metrics.visual_loss, COLORS[NAIVE]),
        (key_metrics.dynamics_loss, COLORS[replay_label(USUAL_SHARE)]),
    ):
        found = [results.change_from_base(run_results, name, metric) for name in names]
        axes.fill_between(shares, [f.low for f in found], [f.high for f in found], color=color, alpha=0.15, lw=0)
        axes.plot(shares, [f.mean for f in found], "o-", color=color, ms=4.5, label=metric.label)
    axes.axhline(0, color=LIGHT_GRAY, lw=1)
    axes.legend(fontsize=8.5, frameon=False)
    axes.set_xlabel("replay, % of all samples", fontsize=9)
    axes.set_title("better losses over the share of replay", fontsize=10, loc="left")


def _error_bars(found: Estimate) -> list[list[float]]:
    return [[found.mean - found.low], [found.high - found.mean]]
