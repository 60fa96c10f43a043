"""The page of the forgetting study: its text and tables in Markdown."""

from collections.abc import Sequence
from dataclasses import fields
from math import isnan
from pathlib import Path
from textwrap import fill

from driveforge.datasets.files.atomic import write_atomic
from driveforge.pipelines.config.build import format_value
from driveforge.pipelines.studies.command import load_settings
from driveforge.pipelines.studies.forgetting import results
from driveforge.pipelines.studies.forgetting.answer import format_answer, format_estimate
from driveforge.pipelines.studies.forgetting.footage import folder_domain
from driveforge.pipelines.studies.forgetting.plot import plot_results
from driveforge.pipelines.studies.forgetting.results import Estimate, KeyMetrics, make_key_metrics
from driveforge.pipelines.studies.forgetting.runs import RunResult
from driveforge.pipelines.studies.forgetting.settings import ForgettingStudy
from driveforge.pipelines.studies.forgetting.variants import (
    ADAPTIVE,
    BASE,
    HIGH_LR_VARIANTS,
    INTERPOLATE,
    NAIVE,
    STILL,
    USUAL_SHARE,
    VARIANTS,
    Variant,
    replay_label,
)
from driveforge.pipelines.studies.forgetting.workspace import DRIVING, StudyWorkspace


def write_report(path: Path, workspace: StudyWorkspace, run_results: Sequence[RunResult]) -> None:
    picture = path.with_suffix(".png")
    key_metrics = make_key_metrics(
        workspace.test_domains, has_objects=not workspace.study.other_footage, judged=workspace.judged_domains
    )
    plot_results(picture, run_results, key_metrics)
    write_atomic(path, format_markdown(workspace.study, run_results, key_metrics, picture.name).encode())


def format_markdown(
    study: ForgettingStudy, run_results: Sequence[RunResult], key_metrics: KeyMetrics, picture: str
) -> str:
    return "\n".join(
        [
            _format_header(study, run_results),
            f"![Gain and loss of each fine-tuning strategy]({picture})\n",
            "## Does it forget?\n",
            _format_forgetting(run_results, key_metrics),
            *_format_high_lr(run_results, key_metrics),
            "## Does replay meet the target?\n",
            format_answer(run_results, (VARIANTS, HIGH_LR_VARIANTS), key_metrics),
            "## Strategies\n",
            _format_strategies(run_results, VARIANTS, key_metrics),
            _format_comparisons(run_results, VARIANTS, key_metrics),
            *(
                _format_high_lr_strategies(run_results, key_metrics)
                if results.names_with_runs(run_results, HIGH_LR_VARIANTS)
                else ()
            ),
            "## All metrics\n",
            _format_table(run_results, key_metrics),
        ]
    )


def _format_header(study: ForgettingStudy, run_results: Sequence[RunResult]) -> str:
    base = _SHIPPED_BASE
    if study.base == "trained":
        base = _TRAINED_BASE.format(steps=study.base_steps, batch_size=study.batch_size)
    what = _INFRARED if study.base == "shipped" else _SIMULATED
    test_set = f"{study.test_clips} clips of every domain"
    if study.driving_footage:
        driving, others = (
            ", ".join(folder_domain(video) for video in videos)
            for videos in (study.driving_footage, study.other_footage)
        )
        what = _REAL.format(driving=driving, others=others)
        test_set = "the last part of the driving videos, whose clips overlap, and on the other videos"
    text = f"""Made by `python -m driveforge.pipelines.studies.forgetting`. {base} {what} Every strategy fine-tunes it
for {study.steps} steps of {study.batch_size} clips, with the same number of samples. Clips have {study.num_frames}
frames of {study.width} x {study.height} px at 10 Hz. All training is continuation from a few frames without a command,
so that motion comes from the model. Every run is evaluated once, on {test_set} that were used neither for training nor
for selection: four context frames are given, the rest is generated. Adaptive shares and interpolation weights are
chosen on other clips. Changes are relative to the base of the same seed, paired by clip; positive is better. Intervals
are 95 % bootstrap intervals over runs and clips. Protocol: {run_results[0].evaluation.protocol}."""
    title = "# Study: forgetting in fine-tuning"
    title += ", of the shipped base" * (study.base == "shipped") + ", on real footage" * bool(study.driving_footage)
    return f"{title}\n\n{fill(' '.join(text.split()), 120)}\n{_format_command(study)}"


def _format_command(study: ForgettingStudy) -> str:
    """The command of a study without the default settings; with footage, to be run in the parent of its folders."""
    defaults = load_settings(ForgettingStudy)
    videos = {
        name: tuple(f"{video.parent.name}/{video.name}" for video in getattr(study, name))
        for name in ("driving_footage", "other_footage")
    }
    changed = [
        f"{field.name}={format_value(videos.get(field.name, getattr(study, field.name))).replace(', ', ',')}"
        for field in fields(study)
        if field.name != "run_dir" and getattr(study, field.name) != getattr(defaults, field.name)
    ]
    if not changed:
        return ""
    lines = ["python -m driveforge.pipelines.studies.forgetting", *(f"    {setting}" for setting in changed)]
    return "\n```sh\n" + " \\\n".join(lines) + "\n```\n"


_TRAINED_BASE = """For every seed a small base model is trained on four simulated non-driving domains ({steps} steps
of {batch_size} clips)."""
_SHIPPED_BASE = """Every run starts from the shipped base checkpoint, which was trained on simulated driving and on the
four other domains; intervals are for this base, and say nothing of another one. Every seed has its own driving clips,
data order and noise. The learning rate decays along a cosine; it and the domains in which dynamics are judged were
chosen on clips of other seeds."""
_INFRARED = """The driving data is simulated by day as an infrared camera would show it, in inverted gray, which the
base has not seen."""
_SIMULATED = "The driving data is simulated."
_REAL = """The driving data is real footage ({driving}), and forgetting is evaluated on real non-driving footage
({others}); replay uses the simulated domains."""


def _format_forgetting(run_results: Sequence[RunResult], key_metrics: KeyMetrics) -> str:
    changes = {metric: results.change_from_base(run_results, NAIVE, metric) for metric in key_metrics.all_metrics}
    lines = [
        "| metric | still frame | base | naive | base against still frame | naive against base | advantage lost |",
        "| --- |" + " --- |" * 6,
    ]
    for metric, change_from_base in changes.items():
        levels = [results.mean_value(run_results, variant, metric) for variant in (STILL, BASE, NAIVE)]
        advantage, lost = "", ""
        # The Frechet distance is one number of all clips, so it has no interval without runs.
        if not isnan(levels[0]) and metric is not key_metrics.visual:
            had = results.base_advantage(run_results, metric)
            advantage = format_estimate(had)
            if had.low > 0 and metric.domains != (DRIVING,):
                lost = format_estimate(results.lost_share(run_results, NAIVE, metric), ".0%")
        cells = (*map(_format_number, levels), advantage, format_estimate(change_from_base), lost)
        lines.append(f"| {metric.label} | {' | '.join(cells)} |")
    questions = (key_metrics.visual, key_metrics.visual_loss, key_metrics.dynamics, key_metrics.dynamics_loss)
    text = "; ".join(f"{metric.label}: {_format_direction(changes[metric])}" for metric in questions)
    return "\n".join(lines) + f"\n\nWith naive fine-tuning, {text}.\n\n{_STILL}"


def _format_high_lr(run_results: Sequence[RunResult], key_metrics: KeyMetrics) -> tuple[str, ...]:
    """The changes of naive fine-tuning at the default and at the high learning rate, if there are runs at both."""
    if not results.names_with_runs(run_results, HIGH_LR_VARIANTS[:1]):
        return ()
    metrics = (key_metrics.visual, key_metrics.visual_loss, key_metrics.dynamics, key_metrics.dynamics_loss)
    lines = ["| change | " + " | ".join(metric.label for metric in metrics) + " |", "| --- |" + " --- |" * 4]
    for name in results.names_with_runs(run_results, (VARIANTS[0], HIGH_LR_VARIANTS[0])):
        changes = [format_estimate(results.change_from_base(run_results, name, metric)) for metric in metrics]
        lines.append(f"| {name} | {' | '.join(changes)} |")
    return ("\n".join(lines) + "\n",)


def _format_direction(change_from_base: Estimate) -> str:
    if not change_from_base.is_significant:
        return "no significant change"
    return "improved" if change_from_base.low > 0 else "worsened"


_STILL = """The still frame repeats the last context frame. What a model is better by, it knows of motion; a blurred
frame loses objects that a still frame keeps. The advantage lost is the share of it that naive fine-tuning takes away,
where the base is significantly better than the still frame.
"""


def _format_strategies(run_results: Sequence[RunResult], variants: Sequence[Variant], key_metrics: KeyMetrics) -> str:
    """Recovered and retained shares of each strategy, relative to the first of ``variants``, the naive one."""
    naive = variants[0].name
    lines = [
        "| strategy | runs | replay | dynamics recovered | appearance gain kept | loss of other domains recovered "
        "| driving loss gain kept |",
        "| --- |" + " --- |" * 6,
    ]
    for name in results.names_with_runs(run_results, variants[1:]):
        recovered, loss_recovered = (
            results.recovered_share(run_results, name, naive, q)
            for q in (key_metrics.dynamics, key_metrics.dynamics_loss)
        )
        visual_kept, loss_kept = (
            results.retained_share(run_results, name, naive, q) for q in (key_metrics.visual, key_metrics.visual_loss)
        )
        cells = (
            name,
            str(len(results.list_seeds(run_results, name))),
            f"{results.replay_share(run_results, name):.1%}",
            format_estimate(recovered, ".0%"),
            format_estimate(visual_kept, ".0%"),
            format_estimate(loss_recovered, ".0%"),
            format_estimate(loss_kept, ".0%"),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _format_high_lr_strategies(run_results: Sequence[RunResult], key_metrics: KeyMetrics) -> tuple[str, ...]:
    heading = f"## Strategies at {HIGH_LR_VARIANTS[0].lr_factor:g} x the learning rate\n"
    return (
        heading,
        _format_strategies(run_results, HIGH_LR_VARIANTS, key_metrics),
        _format_comparisons(run_results, HIGH_LR_VARIANTS, key_metrics),
    )


def _format_comparisons(run_results: Sequence[RunResult], variants: Sequence[Variant], key_metrics: KeyMetrics) -> str:
    """Direct comparisons of pairs of strategies."""
    names = {variant.label: variant.name for variant in variants}
    usual, adaptive, interpolated = (names[label] for label in (replay_label(USUAL_SHARE), ADAPTIVE, INTERPOLATE))
    found = results.names_with_runs(run_results, variants)
    fixed = [variant for variant in variants if variant.is_fixed_replay]
    best, best_by_loss = (
        results.best(run_results, fixed, metric) for metric in (key_metrics.dynamics, key_metrics.dynamics_loss)
    )
    candidates = [(usual, interpolated), (adaptive, usual), (adaptive, best), (adaptive, best_by_loss)]
    pairs = dict.fromkeys(pair for pair in candidates if set(pair) <= set(found))
    heading = [
        "| | replay | dynamics | loss of other domains | appearance | loss of driving |",
        "| --- |" + " --- |" * 5,
    ]
    lines = heading if pairs else []
    for ours, theirs in pairs:
        advantages = [
            results.advantage(run_results, ours, theirs, metric)
            for metric in (key_metrics.dynamics, key_metrics.dynamics_loss, key_metrics.visual, key_metrics.visual_loss)
        ]
        shares = " vs. ".join(f"{results.replay_share(run_results, name):.1%}" for name in (ours, theirs))
        lines.append(f"| {ours} vs. {theirs} | {shares} | {' | '.join(map(format_estimate, advantages))} |")
    if len(results.names_with_runs(run_results, fixed)) > 1:
        lines.append(
            f"\nOf the fixed shares, {best} retains the dynamics best, and {best_by_loss} the loss of other domains."
        )
    return "\n".join(lines) + "\n"


def _format_table(run_results: Sequence[RunResult], key_metrics: KeyMetrics) -> str:
    names = [STILL, BASE, *results.names_with_runs(run_results, (*VARIANTS, *HIGH_LR_VARIANTS))]
    lines = ["| strategy | " + " | ".join(metric.label for metric in key_metrics.all_metrics) + " |"]
    lines.append("| --- |" + " --- |" * len(key_metrics.all_metrics))
    for name in names:
        levels = [results.mean_value(run_results, name, metric) for metric in key_metrics.all_metrics]
        lines.append(f"| {name} | " + " | ".join(map(_format_number, levels)) + " |")
    return "\n".join(lines) + "\n"


def _format_number(mean_value: float) -> str:
    return "" if isnan(mean_value) else f"{mean_value:.3g}"
