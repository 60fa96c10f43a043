"""The pages of the forgetting study: tables in Markdown, and two pictures."""

from collections.abc import Sequence
from math import isnan
from pathlib import Path
from textwrap import fill

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from driveforge.datasets.files.atomic import atomic_file, write_atomic
from driveforge.pipelines.studies.forgetting import results
from driveforge.pipelines.studies.forgetting.footage import domain_of
from driveforge.pipelines.studies.forgetting.results import Estimate, Quantity, Yardsticks, yardsticks
from driveforge.pipelines.studies.forgetting.runs import Outcome
from driveforge.pipelines.studies.forgetting.settings import ForgettingStudy
from driveforge.pipelines.studies.forgetting.variants import (
    ADAPTIVE,
    BASE,
    HARDER,
    INTERPOLATE,
    LADDER,
    NAIVE,
    STILL,
    USUAL_SHARE,
    VARIANTS,
    Variant,
    replaying,
)
from driveforge.pipelines.studies.forgetting.workspace import Ground

# What was hoped for: share of the lost dynamics that replay gives back, and of naive's visual gain that it may cost.
RECOVERED, COST = 0.80, 0.05
FAINT, OTHER_COLOUR = "#bbbbbb", "#6b7680"
COLOURS = {NAIVE: "#c21d2c", replaying(USUAL_SHARE): "#1f4e8c", ADAPTIVE: "#1d7a3e", INTERPOLATE: "#c77700"}


def write_report(path: Path, ground: Ground, outcomes: Sequence[Outcome]) -> None:
    picture = path.with_suffix(".png")
    by = yardsticks(ground.judged_domains, has_objects=not ground.study.other_footage)
    draw(picture, outcomes, by)
    write_atomic(path, markdown(ground.study, outcomes, by, picture.name).encode())


def markdown(study: ForgettingStudy, outcomes: Sequence[Outcome], by: Yardsticks, picture: str) -> str:
    return "\n".join(
        [
            _head(study, outcomes),
            f"![What each way to fine-tune gains and loses]({picture})\n",
            "## Does it forget?\n",
            _phenomenon(outcomes, by),
            _harder(outcomes, by),
            "## What helps\n",
            _remedies(outcomes, VARIANTS, by),
            _WANTED,
            _comparisons(outcomes, VARIANTS, by),
            *(_at_the_higher_rate(outcomes, by) if results.ran(outcomes, HARDER) else ()),
            "## Every quantity\n",
            _table(outcomes, by),
        ]
    )


def _head(study: ForgettingStudy, outcomes: Sequence[Outcome]) -> str:
    what, judged = _SIMULATED, f"{study.judge_clips} clips of every domain"
    if study.driving_footage:
        driving, others = (
            ", ".join(domain_of(video) for video in videos) for videos in (study.driving_footage, study.other_footage)
        )
        what = _REAL.format(driving=driving, others=others)
        judged = "the last part of the driving videos, whose clips overlap, and on the others"
    told = f"""Made by `python -m driveforge.pipelines.studies.forgetting`. For every seed a small world model learns
how things move in four simulated domains that are not driving ({study.base_steps} steps of {study.batch_size} clips).
{what} It is fine-tuned for {study.steps} steps in each way below, at equal steps and equal samples. Clips have
{study.num_frames} frames of {study.width} x {study.height} px at 10 Hz. All training is to go on from a few frames
without a command, so that motion has to come from the model. A run is judged once, on {judged} that nothing was trained
on or chosen by: four frames are given, the rest is generated. Adaptive shares and the points of interpolation go by
other clips. Changes are against the base of the same seed, clip by clip, above 0 where it became better; intervals hold
95 % of resamplings of both runs and clips. Judged with: {outcomes[0].probed.protocol}."""
    title = f"# Study: what fine-tuning forgets{', on real footage' * bool(study.driving_footage)}"
    return f"{title}\n\n{fill(' '.join(told.split()), 120)}\n{_command(study)}"


def _command(study: ForgettingStudy) -> str:
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
        f"seeds={study.seeds}",
        f"seeds_of_rest={study.seeds_of_rest}",
    )
    lines = ["python -m driveforge.pipelines.studies.forgetting", *(f"    {setting}" for setting in settings)]
    return "\n```sh\n" + " \\\n".join(lines) + "\n```\n"


_SIMULATED = "Then it sees simulated driving."
_REAL = """Then it sees real driving
({driving}), and is judged on real footage that is not driving ({others}); replay draws from the simulated domains."""


def _phenomenon(outcomes: Sequence[Outcome], by: Yardsticks) -> str:
    changes = {quantity: results.change(outcomes, NAIVE, quantity) for quantity in by.every}
    lines = ["| quantity | still picture | base | naive | change |", "| --- | --- | --- | --- | --- |"]
    for quantity, change in changes.items():
        levels = [results.level(outcomes, variant, quantity) for variant in (STILL, BASE, NAIVE)]
        lines.append(f"| {quantity.words} | {' | '.join(map(_number, levels))} | {_words(change)} |")
    questions = (by.visual, by.visual_loss, by.dynamics, by.dynamics_loss)
    told = "; ".join(f"{quantity.words}: {_became(changes[quantity])}" for quantity in questions)
    return "\n".join(lines) + f"\n\nUnder naive fine-tuning, {told}.\n\n{_STILL}"


def _harder(outcomes: Sequence[Outcome], by: Yardsticks) -> str:
    """The same at a learning rate that forgets more."""
    quantities = (by.visual, by.visual_loss, by.dynamics, by.dynamics_loss)
    lines = ["| change | " + " | ".join(quantity.words for quantity in quantities) + " |", "| --- |" + " --- |" * 4]
    for name in results.ran(outcomes, (VARIANTS[0], HARDER[0])):
        changes = [_words(results.change(outcomes, name, quantity)) for quantity in quantities]
        lines.append(f"| {name} | {' | '.join(changes)} |")
    return "\n".join(lines) + "\n"


def _became(change: Estimate) -> str:
    certain = "improved" if change.low > 0 else "got worse"
    return certain if change.is_certain else "did not change for certain"


_STILL = """The still picture repeats the last given frame. Beside it one sees how much a model of this size knows of
motion at all: a soft picture loses objects that a still one keeps.
"""


def _remedies(outcomes: Sequence[Outcome], ways: Sequence[Variant], by: Yardsticks) -> str:
    """What each of ``ways`` but the first, the naive one, changes against it."""
    naive = ways[0].name
    shown = all(results.change(outcomes, naive, quantity).is_certain for quantity in (by.visual, by.dynamics))
    lines = [
        "| way | runs | replayed | dynamics given back | of the visual gain kept | | loss elsewhere given back | of "
        "driving's loss gained kept |",
        "| --- |" + " --- |" * 7,
    ]
    for name in results.ran(outcomes, ways[1:]):
        back, loss_back = (_given_back(outcomes, name, naive, q) for q in (by.dynamics, by.dynamics_loss))
        seen, loss_seen = (results.kept(outcomes, name, naive, q) for q in (by.visual, by.visual_loss))
        passed = shown and back.mean >= RECOVERED and seen.mean >= 1 - COST
        lines.append(
            f"| {name} | {len(results.seeds_of(outcomes, name))} "
            f"| {results.replayed(outcomes, name):.1%} | {_words(back, '.0%')} | {_words(seen, '.0%')} "
            f"| {'yes' if passed else ''} | {_words(loss_back, '.0%')} | {_words(loss_seen, '.0%')} |"
        )
    return "\n".join(lines) + "\n"


def _at_the_higher_rate(outcomes: Sequence[Outcome], by: Yardsticks) -> tuple[str, ...]:
    head = f"## What helps at {HARDER[0].rate:g} x the rate\n"
    return head, _remedies(outcomes, HARDER, by), _comparisons(outcomes, HARDER, by)


def _given_back(outcomes: Sequence[Outcome], variant: str, naive: str, quantity: Quantity) -> Estimate:
    """What of naive's loss a variant does not lose."""
    lost = results.kept(outcomes, variant, naive, quantity)
    return Estimate(mean=1 - lost.mean, low=1 - lost.high, high=1 - lost.low)


_WANTED = f""""Yes": at least {RECOVERED:.0%} of what naive fine-tuning loses is given back, at a cost of at most
{COST:.0%} of its visual gain, where both are certain at all. Where they are small, shares of them mean little.
"""


def _comparisons(outcomes: Sequence[Outcome], ways: Sequence[Variant], by: Yardsticks) -> str:
    """The questions that the table of remedies leaves to the reader, answered pair by pair."""
    names = {variant.way: variant.name for variant in ways}
    usual, adaptive, interpolated = (names[way] for way in (replaying(USUAL_SHARE), ADAPTIVE, INTERPOLATE))
    fixed = [variant for variant in ways if variant.is_fixed_replay]
    best, steadiest = (results.best(outcomes, fixed, quantity) for quantity in (by.dynamics, by.dynamics_loss))
    lines = [
        "| | replayed | better dynamics | better loss elsewhere | better looks | better loss of driving |",
        "| --- |" + " --- |" * 5,
    ]
    pairs = dict.fromkeys([(usual, interpolated), (adaptive, usual), (adaptive, best), (adaptive, steadiest)])
    for ours, theirs in pairs:
        leads = [
            results.lead(outcomes, ours, theirs, quantity)
            for quantity in (by.dynamics, by.dynamics_loss, by.visual, by.visual_loss)
        ]
        shares = " against ".join(f"{results.replayed(outcomes, name):.1%}" for name in (ours, theirs))
        lines.append(f"| {ours} against {theirs} | {shares} | {' | '.join(map(_words, leads))} |")
    if len(results.ran(outcomes, fixed)) > 1:
        lines.append(
            f"\nOf the fixed shares, {best} keeps most of how things move; {steadiest}, of the loss elsewhere."
        )
    return "\n".join(lines) + "\n"


def _table(outcomes: Sequence[Outcome], by: Yardsticks) -> str:
    names = [STILL, BASE, *results.ran(outcomes, (*VARIANTS, *HARDER))]
    lines = ["| way | " + " | ".join(quantity.words for quantity in by.every) + " |"]
    lines.append("| --- |" + " --- |" * len(by.every))
    for name in names:
        levels = [results.level(outcomes, name, quantity) for quantity in by.every]
        lines.append(f"| {name} | " + " | ".join(map(_number, levels)) + " |")
    return "\n".join(lines) + "\n"


def _number(level: float) -> str:
    return "" if isnan(level) else f"{level:.3g}"


def _words(found: Estimate, form: str = "+.3g") -> str:
    return f"{found.mean:{form}} ({found.low:{form}} to {found.high:{form}})"


def draw(path: Path, outcomes: Sequence[Outcome], by: Yardsticks) -> None:
    """Gains in driving against losses elsewhere, by the losses and by what is seen; and both losses over the share."""
    figure = Figure(figsize=(13, 10), layout="constrained", facecolor="white")
    panels = figure.subplots(2, 2)
    (of_loss, of_frames), (of_harder, over_share) = panels
    _draw_plane(of_loss, outcomes, VARIANTS, by.visual_loss, by.dynamics_loss)
    _draw_plane(of_frames, outcomes, VARIANTS, by.visual, by.dynamics)
    _draw_plane(of_harder, outcomes, HARDER, by.visual, by.dynamics)
    of_harder.set_title(f"against the base, at {HARDER[0].rate:g} x the rate", fontsize=10, loc="left")
    _draw_shares(over_share, outcomes, by)
    for axes in panels.flat:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8.5, length=2)
    with atomic_file(path) as file:
        figure.savefig(file, dpi=100)


def _draw_plane(
    axes: Axes, outcomes: Sequence[Outcome], ways: Sequence[Variant], across: Quantity, up: Quantity
) -> None:
    """Every way as a point with its intervals: the further right and up, the better."""
    way_of = {variant.name: variant.way for variant in ways}
    for name in results.ran(outcomes, ways):
        right, high = (results.change(outcomes, name, quantity) for quantity in (across, up))
        colour = COLOURS.get(way_of[name], OTHER_COLOUR)
        axes.errorbar([right.mean], [high.mean], xerr=_arms(right), yerr=_arms(high), fmt="o", ms=5, lw=0.6,
                      color=colour, alpha=0.75)  # fmt: skip
        axes.annotate(way_of[name], (right.mean, high.mean), xytext=(5, 4), textcoords="offset points", fontsize=8,
                      color=colour)  # fmt: skip
    axes.axhline(0, color=FAINT, lw=1)
    axes.axvline(0, color=FAINT, lw=1)
    axes.set_xlabel(f"better {across.words} \N{RIGHTWARDS ARROW}", fontsize=9)
    axes.set_ylabel(f"better {up.words} \N{RIGHTWARDS ARROW}", fontsize=9)
    axes.set_title("against the base", fontsize=10, loc="left")


def _draw_shares(axes: Axes, outcomes: Sequence[Outcome], by: Yardsticks) -> None:
    names = results.ran(outcomes, LADDER)
    shares = [100 * results.replayed(outcomes, name) for name in names]
    for quantity, colour in ((by.visual_loss, COLOURS[NAIVE]), (by.dynamics_loss, COLOURS[replaying(USUAL_SHARE)])):
        found = [results.change(outcomes, name, quantity) for name in names]
        axes.fill_between(shares, [f.low for f in found], [f.high for f in found], color=colour, alpha=0.15, lw=0)
        axes.plot(shares, [f.mean for f in found], "o-", color=colour, ms=4.5, label=quantity.words)
    axes.axhline(0, color=FAINT, lw=1)
    axes.legend(fontsize=8.5, frameon=False)
    axes.set_xlabel("replay, % of all samples", fontsize=9)
    axes.set_title("better losses over the share of replay", fontsize=10, loc="left")


def _arms(found: Estimate) -> list[list[float]]:
    return [[found.mean - found.low], [found.high - found.mean]]
