"""The pages of the forgetting study: tables in Markdown, and two pictures."""

from collections.abc import Sequence
from math import isnan
from pathlib import Path

from matplotlib.figure import Figure

from pipelines.config import ForgettingConfig
from pipelines.forgetting_study import results
from pipelines.forgetting_study.results import DYNAMICS, QUANTITIES, VISUAL, Estimate
from pipelines.forgetting_study.runs import Outcome
from pipelines.forgetting_study.variants import BASE, FIXED_SHARES, NAIVE, STILL, VARIANTS

# What was hoped for: share of the lost dynamics that replay gives back, and of naive's visual gain that it may cost.
RECOVERED, COST = 0.80, 0.05


def write_report(path: Path, study: ForgettingConfig, outcomes: Sequence[Outcome]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = path.with_suffix(".png")
    draw(picture, outcomes)
    path.write_text(markdown(study, outcomes, picture.name))


def markdown(study: ForgettingConfig, outcomes: Sequence[Outcome], picture: str) -> str:
    return "\n".join(
        [
            _head(study, outcomes),
            f"![What each way to fine-tune gains and loses]({picture})\n",
            "## Does it forget?\n",
            _phenomenon(outcomes),
            "## What helps\n",
            _remedies(outcomes),
            "## Every quantity\n",
            _table(outcomes),
        ]
    )


def _head(study: ForgettingConfig, outcomes: Sequence[Outcome]) -> str:
    return f"""# Study: what fine-tuning forgets

Made by `driveforge study forgetting`. For every seed a small world model learns how things move in the four domains
that are not driving ({study.base_steps} steps of {study.batch_size} clips), and is then fine-tuned on driving
({study.steps} steps) in each way below, at equal steps and equal samples. Clips have {study.num_frames} frames of
{study.width} x {study.height} px at 10 Hz; all training is to go on from a few frames without a command, so that motion
has to come from the model. A run is judged once, on {study.judge_clips} clips of every domain that nothing was trained
on or chosen by: four frames are given, the rest is generated. Adaptive shares and the points of interpolation go by
other clips. Changes are against the base of the same seed, clip by clip, above 0 where it became better; intervals
hold 95 % of resamplings of both runs and clips. Judged with: {outcomes[0].probed.protocol}.
"""


def _phenomenon(outcomes: Sequence[Outcome]) -> str:
    seen, lost = (results.change(outcomes, NAIVE, quantity) for quantity in (VISUAL, DYNAMICS))
    lines = ["| quantity | base | naive | change |", "| --- | --- | --- | --- |"]
    for quantity in QUANTITIES:
        before, after = (results.level(outcomes, variant, quantity) for variant in (BASE, NAIVE))
        change = _words(results.change(outcomes, NAIVE, quantity))
        lines.append(f"| {quantity.words} | {before:.3g} | {after:.3g} | {change} |")
    looks = "improved" if seen.low > 0 else "got worse" if seen.high < 0 else "did not change for certain"
    moves = "got worse" if lost.high < 0 else "improved" if lost.low > 0 else "did not change for certain"
    return "\n".join(lines) + f"\n\nUnder naive fine-tuning driving's looks {looks}, and motion elsewhere {moves}.\n"


def _remedies(outcomes: Sequence[Outcome]) -> str:
    shown = all(results.change(outcomes, NAIVE, quantity).is_certain for quantity in (VISUAL, DYNAMICS))
    lines = [
        "| way | runs | replayed | dynamics given back | of the visual gain kept | |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for variant in VARIANTS[1:]:
        lost, gained = (results.kept(outcomes, variant.name, quantity) for quantity in (DYNAMICS, VISUAL))
        back = Estimate(mean=1 - lost.mean, low=1 - lost.high, high=1 - lost.low)
        passed = shown and back.mean >= RECOVERED and gained.mean >= 1 - COST
        lines.append(
            f"| {variant.name} | {len(results.seeds_of(outcomes, variant.name))} "
            f"| {results.replayed(outcomes, variant.name):.1%} | {_words(back, '.0%')} | {_words(gained, '.0%')} "
            f"| {'yes' if passed else ''} |"
        )
    return "\n".join(lines) + f"\n\n{_WANTED}"


_WANTED = f""""Yes": at least {RECOVERED:.0%} of what naive fine-tuning loses is given back, at a cost of at most
{COST:.0%} of its visual gain, where both are certain at all. Where they are small, shares of them mean little.
"""


def _table(outcomes: Sequence[Outcome]) -> str:
    names = [STILL, BASE, *(variant.name for variant in VARIANTS)]
    lines = ["| way | " + " | ".join(quantity.words for quantity in QUANTITIES) + " |"]
    lines.append("| --- |" + " --- |" * len(QUANTITIES))
    for name in names:
        levels = [results.level(outcomes, name, quantity) for quantity in QUANTITIES]
        lines.append(f"| {name} | " + " | ".join("" if isnan(level) else f"{level:.3g}" for level in levels) + " |")
    return "\n".join(lines) + f"\n\n{_STILL}"


_STILL = """The still picture repeats the last given frame. Beside it one sees how much a model of this size knows of
motion at all: a soft picture loses objects that a still one keeps.
"""


def _words(found: Estimate, form: str = "+.3g") -> str:
    return f"{found.mean:{form}} ({found.low:{form}} to {found.high:{form}})"


def draw(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Left: what each way gains in looks against what it loses in motion; right: both against the share of replay."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    plane, course = figure.subplots(1, 2)
    for variant in VARIANTS:
        seen, moved = (results.change(outcomes, variant.name, quantity) for quantity in (VISUAL, DYNAMICS))
        spread = {"xerr": _arms(seen), "yerr": _arms(moved)}
        plane.errorbar([seen.mean], [moved.mean], **spread, fmt="o", ms=5, lw=0.8, label=variant.name)
    plane.axhline(0, color="#bbbbbb", lw=1)
    plane.axvline(0, color="#bbbbbb", lw=1)
    plane.set(xlabel=f"better {VISUAL.words}", ylabel=f"better {DYNAMICS.words}", title="against the base")
    plane.legend(fontsize=7, ncols=2, frameon=False)
    names = [NAIVE, *(f"replay {share:.0%}" for share in FIXED_SHARES)]
    for axis, quantity, colour in ((course, DYNAMICS, "#1f4e8c"), (course.twinx(), VISUAL, "#c2571a")):
        found = [results.change(outcomes, name, quantity) for name in names]
        shares = [100 * results.replayed(outcomes, name) for name in names]
        arms = [[f.mean - f.low for f in found], [f.high - f.mean for f in found]]
        axis.errorbar(shares, [f.mean for f in found], yerr=arms, fmt="o-", color=colour)
        axis.set_ylabel(f"better {quantity.words}", color=colour)
    course.set(xlabel="replay, % of all samples", title="the share of replay")
    figure.savefig(path, dpi=110)


def _arms(found: Estimate) -> list[list[float]]:
    return [[found.mean - found.low], [found.high - found.mean]]
