"""The report of the validator study: tables in Markdown, and a plot."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from driveforge.datasets.files.atomic import atomic_file, write_atomic
from driveforge.pipelines.studies.validator.baselines.catalog import BASELINES
from driveforge.pipelines.studies.validator.results import (
    ACCEPTANCE_CRITERIA,
    OURS,
    CorruptionResult,
    RejectionCounts,
    StudyResult,
    mean_auroc,
)
from driveforge.pipelines.studies.validator.trials import strengths
from driveforge.validation.calibration import clopper_pearson_upper_bound
from driveforge.validation.corruptions.catalog import CORRUPTIONS

UNCOMMANDED = tuple(corruption_type for corruption_type in CORRUPTIONS if corruption_type.startswith("uncommanded"))
COLORS = {"mild": "#7fb2e5", "between": "#4a7fc0", "strong": "#1f4e8c"}


def write_report(path: Path, results: Sequence[StudyResult], front: StudyResult, sections: Mapping[str, str]) -> None:
    """Write the report and its plot; ``front`` are the results of several cameras, ``sections`` are texts by title."""
    plot_auroc(path.with_suffix(".png"), [*results, front])
    write_atomic(path, markdown(results, front, sections, path.with_suffix(".png").name).encode())


def markdown(results: Sequence[StudyResult], front: StudyResult, sections: Mapping[str, str], picture: str) -> str:
    parts = [_HEAD, f"![AUROC of every corruption]({picture})\n", "## Means\n", _summary(results)]
    parts += ["## False rejects\n", _false_rejects([*results, front])]
    parts += [f"## Acceptance criteria, at {results[0].title}\n", _criteria_table([results[0], front])]
    for title, text in sections.items():
        parts += [f"## {title}\n", text]
    for result in [*results, front]:
        parts += [f"## Every corruption: {result.title}\n", _table(result)]
    return "\n".join(parts)


_HEAD = """# Study: detection of corruptions by the validator

Made by `python -m driveforge.pipelines.studies.validator`. Good clips are simulated (24 frames at 10 Hz) and degraded
like recordings (noise, blur, compression, drifting exposure, inexact commands and boxes), including night, noisy
cameras, fast and stationary ego vehicles. Limits are calibrated at a nominal 1 % of false rejects; AUROC is that of the
nonconformity score over all measures, against audited good clips of every condition. Published baselines are computed
on some of the same clips (sources in `pipelines/studies/validator/baselines`); ordinary clips are corrupted, each type
mildly and strongly. A baseline that uses only pixels cannot distinguish a wrong command from the right one: an AUROC
above 0.5 there means only that ordinary clips move more than the audited ones on average.
"""


def _summary(results: Sequence[StudyResult]) -> str:
    lines = ["| mean AUROC, strong / mild | " + " | ".join(r.title for r in results) + " |"]
    lines.append("| --- |" + " --- |" * len(results))
    for name in (OURS, *BASELINES):
        means = [[mean_auroc(r, level, name, exclude=UNCOMMANDED) for level in ("strong", "mild")] for r in results]
        lines.append(
            f"| {_display_name(name)} | " + " | ".join(f"{strong:.3f} / {mild:.3f}" for strong, mild in means) + " |"
        )
    means = [[mean_auroc(r, level) for level in ("strong", "mild")] for r in results]
    cells = [f"{strong:.3f} / {mild:.3f}" for strong, mild in means]
    lines.append("| ours, with uncommanded objects | " + " | ".join(cells) + " |")
    cells = [f"{r.seconds:.2f} s" for r in results]
    lines.append("| ours, seconds of one core per clip | " + " | ".join(cells) + " |")
    return "\n".join(lines) + f"\n\n{_UNCOMMANDED}"


_UNCOMMANDED = """Uncommanded objects (without a box) have no command to compare with, and the gate searches for them
only with a detector (see below), which these results do not use: they are excluded from the means except in the last
line of AUROC, and are listed in the tables below. How well a test of the ground plane detects them is measured by
`python -m tests.benchmarks.uncommanded`.
"""


def _display_name(judge_name: str) -> str:
    return judge_name.removeprefix("baseline_").replace("_", " ")


def _false_rejects(results: Sequence[StudyResult]) -> str:
    conditions = sorted({name for result in results for name in result.rejections})
    lines = ["| good clips | " + " | ".join(r.title for r in results) + " |"]
    lines.append("| --- |" + " --- |" * len(results))
    for name in conditions:
        cells = [
            _count_rejections(r.rejections[name], with_bound=name == "all") if name in r.rejections else ""
            for r in results
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + f"\n\n{_BOUND}"


_BOUND = """The bound is that of Clopper and Pearson at 95 % confidence. An unmeasured clip is not a reject: there were
too few point tracks, mostly at night in small images, and the clip is neither accepted nor rejected.
"""


def _count_rejections(count: RejectionCounts, *, with_bound: bool) -> str:
    bound = f", at most {clopper_pearson_upper_bound(count.rejected, count.total):.1%}" if with_bound else ""
    unmeasured = f"; {count.unmeasured} unmeasured" if count.unmeasured else ""
    return f"{count.rejected} of {count.total}{bound}{unmeasured}"


def _criteria_table(results: Sequence[StudyResult]) -> str:
    found = {(row.corruption_type, row.level): row for result in results for row in result.table}
    lines = ["| corruption | clips | AUROC | required | detected | required |", "| --- | --- | --- | --- | --- | --- |"]
    for criterion in ACCEPTANCE_CRITERIA:
        for case in criterion.cases:
            if not (row := found.get(case)):
                continue
            lines.append(
                f"| {_case_name(row)} | {row.num_clips} | {_format_criterion(row.auroc[OURS], criterion.auroc, '.3f')} "
                f"| {criterion.auroc:.2f} | {_format_criterion(row.detected, criterion.detected, '.0%')} "
                f"| {criterion.detected:.0%} |"
            )
    return "\n".join(lines) + "\n\nValues below the requirement are bold.\n"


def _format_criterion(value: float, threshold: float, form: str) -> str:
    return f"{value:{form}}" if value >= threshold else f"**{value:{form}}**"


def _case_name(row: CorruptionResult) -> str:
    return (
        f"{row.corruption_type}, {strengths(row.corruption_type)[row.level]:g} {CORRUPTIONS[row.corruption_type].unit}"
    )


def _table(result: StudyResult) -> str:
    lines = ["| corruption | clips | AUROC | detected | best baseline |", "| --- | --- | --- | --- | --- |"]
    for row in result.table:
        baseline = max(BASELINES, key=lambda name: row.auroc[name])
        best = f"{row.auroc[baseline]:.2f} {_display_name(baseline)}"
        lines.append(f"| {_case_name(row)} | {row.num_clips} | {row.auroc[OURS]:.3f} | {row.detected:.0%} | {best} |")
    return "\n".join(lines) + "\n"


def plot_auroc(path: Path, results: Sequence[StudyResult]) -> None:
    """Write a PNG: a dot for every corruption, strength and size, and the best baseline as a ring."""
    corruption_types = list(dict.fromkeys(row.corruption_type for result in results for row in result.table))
    figure = Figure(figsize=(4.2 * len(results) + 1.5, 1.2 + 0.26 * len(corruption_types)), layout="constrained")
    axes = figure.subplots(1, len(results), sharey=True, squeeze=False)[0]
    for axis, result in zip(axes, results, strict=True):
        for row in result.table:
            place = (
                corruption_types.index(row.corruption_type) + {"mild": 0.2, "between": 0.0, "strong": -0.2}[row.level]
            )
            baseline = max(row.auroc[name] for name in BASELINES)
            axis.plot([baseline], [place], "o", mfc="none", mec="#c2571a", ms=5)
            axis.plot([row.auroc[OURS]], [place], "o", color=COLORS[row.level], ms=6)
        axis.axvline(0.5, color="#bbbbbb", lw=1)
        axis.set(xlim=(0.3, 1.02), yticks=range(len(corruption_types)), title=result.title, xlabel="AUROC")
        axis.set_yticklabels(corruption_types, fontsize=8)
        axis.grid(axis="y", color="#eeeeee")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].invert_yaxis()
    figure.suptitle("dot: ours, darker for stronger corruptions; ring: best of five baselines", fontsize=10)
    with atomic_file(path) as file:
        figure.savefig(file, dpi=110)
