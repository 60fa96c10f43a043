"""The report of the validator study: tables in Markdown, and a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from driveforge.datasets.files.atomic import atomic_file, write_atomic
from driveforge.pipelines.studies.validator.baselines.catalogue import PEERS
from driveforge.pipelines.studies.validator.results import OURS, PROMISES, Refused, Result, Row, mean_auroc
from driveforge.pipelines.studies.validator.trials import strengths
from driveforge.validation.calibration import upper_bound
from driveforge.validation.corruptions.catalogue import CORRUPTIONS

UNCOMMANDED = tuple(kind for kind in CORRUPTIONS if kind.startswith("uncommanded"))
COLOURS = {"mild": "#7fb2e5", "between": "#4a7fc0", "strong": "#1f4e8c"}


def write_report(path: Path, results: Sequence[Result], front: Result, sections: Mapping[str, str]) -> None:
    """Write the report, and its picture beside it; ``front`` is the one of several cameras, ``sections`` by title."""
    draw(path.with_suffix(".png"), [*results, front])
    write_atomic(path, markdown(results, front, sections, path.with_suffix(".png").name).encode())


def markdown(results: Sequence[Result], front: Result, sections: Mapping[str, str], picture: str) -> str:
    parts = [_HEAD, f"![AUROC of every corruption]({picture})\n", "## In the mean\n", _summary(results)]
    parts += ["## False rejects\n", _false_rejects([*results, front])]
    parts += [f"## What is wanted, at {results[0].title}\n", _promises([results[0], front])]
    for title, text in sections.items():
        parts += [f"## {title}\n", text]
    for result in [*results, front]:
        parts += [f"## Every corruption: {result.title}\n", _table(result)]
    return "\n".join(parts)


_HEAD = """# Study: what the validator sees

Made by `python -m driveforge.pipelines.studies.validator`. Good clips are simulated drives of 24 frames at 10 Hz, worn
as recordings are (noise, blur, compression, drifting exposure, commands and boxes a little off), by night, with a poor
camera, fast and standing too. Limits are calibrated at a nominal 1 % of false rejects; AUROC is that of the surprise
over all measures, against audited good clips of every condition. Peers' measures judge some of the same clips
(`pipelines/studies/validator/baselines` says after whom); ordinary clips are spoilt, each kind mildly and strongly. A
peer that looks at pixels alone says the same of a clip under a wrong command as of the good one: what it has above 0.5
there is that ordinary clips move more than the audited ones do on average.
"""


def _summary(results: Sequence[Result]) -> str:
    lines = ["| mean AUROC, strong / mild | " + " | ".join(r.title for r in results) + " |"]
    lines.append("| --- |" + " --- |" * len(results))
    for name in (OURS, *PEERS):
        means = [[mean_auroc(r, level, name, but=UNCOMMANDED) for level in ("strong", "mild")] for r in results]
        lines.append(f"| {_words(name)} | " + " | ".join(f"{strong:.3f} / {mild:.3f}" for strong, mild in means) + " |")
    means = [[mean_auroc(r, level) for level in ("strong", "mild")] for r in results]
    lines.append("| ours, un-commanded objects too | " + " | ".join(f"{a:.3f} / {b:.3f}" for a, b in means) + " |")
    cells = [f"{r.seconds:.2f} s" for r in results]
    lines.append("| ours, seconds of one core a clip | " + " | ".join(cells) + " |")
    return "\n".join(lines) + f"\n\n{_UNCOMMANDED}"


_UNCOMMANDED = """Objects that no box commands have no command to be held against, and nothing in the gate looks for
them yet: they are left out of the means but in the last line of AUROC, and stand in the tables below. What a test of
the ground plane sees of them is measured by `python -m tests.benchmarks.uncommanded`.
"""


def _words(judge_name: str) -> str:
    return judge_name.removeprefix("peer_").replace("_", " ")


def _false_rejects(results: Sequence[Result]) -> str:
    conditions = sorted({name for result in results for name in result.refused})
    lines = ["| good clips | " + " | ".join(r.title for r in results) + " |"]
    lines.append("| --- |" + " --- |" * len(results))
    for name in conditions:
        cells = [_refused(r.refused[name], with_bound=name == "all") if name in r.refused else "" for r in results]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + f"\n\n{_BOUND}"


_BOUND = """The bound is that of Clopper and Pearson at 95 % confidence. Unmeasured is no reject: too little could be
followed, mostly at night in small pictures, and the clip goes to neither side.
"""


def _refused(count: Refused, *, with_bound: bool) -> str:
    bound = f", at most {upper_bound(count.rejected, count.total):.1%}" if with_bound else ""
    unmeasured = f"; {count.unmeasured} unmeasured" if count.unmeasured else ""
    return f"{count.rejected} of {count.total}{bound}{unmeasured}"


def _promises(results: Sequence[Result]) -> str:
    found = {(row.kind, row.level): row for result in results for row in result.table}
    lines = ["| corruption | clips | AUROC | wanted | detected | wanted |", "| --- | --- | --- | --- | --- | --- |"]
    for promise in PROMISES:
        for case in promise.cases:
            if not (row := found.get(case)):
                continue
            lines.append(
                f"| {_name(row)} | {row.num_clips} | {_marked(row.auroc[OURS], promise.auroc, '.3f')} "
                f"| {promise.auroc:.2f} | {_marked(row.detected, promise.detected, '.0%')} | {promise.detected:.0%} |"
            )
    return "\n".join(lines) + "\n\nWhat falls short is set in bold.\n"


def _marked(value: float, wanted: float, form: str) -> str:
    return f"{value:{form}}" if value >= wanted else f"**{value:{form}}**"


def _name(row: Row) -> str:
    return f"{row.kind}, {strengths(row.kind)[row.level]:g} {CORRUPTIONS[row.kind].unit}"


def _table(result: Result) -> str:
    lines = ["| corruption | clips | AUROC | detected | best peer |", "| --- | --- | --- | --- | --- |"]
    for row in result.table:
        peer = max(PEERS, key=lambda name: row.auroc[name])
        words = f"{row.auroc[peer]:.2f} {_words(peer)}"
        lines.append(f"| {_name(row)} | {row.num_clips} | {row.auroc[OURS]:.3f} | {row.detected:.0%} | {words} |")
    return "\n".join(lines) + "\n"


def draw(path: Path, results: Sequence[Result]) -> None:
    """A dot for every corruption, strength and size: ours filled, the best peer's as a ring."""
    kinds = list(dict.fromkeys(row.kind for result in results for row in result.table))
    figure = Figure(figsize=(4.2 * len(results) + 1.5, 1.2 + 0.26 * len(kinds)), layout="constrained")
    axes = figure.subplots(1, len(results), sharey=True, squeeze=False)[0]
    for axis, result in zip(axes, results, strict=True):
        for row in result.table:
            place = kinds.index(row.kind) + {"mild": 0.2, "between": 0.0, "strong": -0.2}[row.level]
            peer = max(row.auroc[name] for name in PEERS)
            axis.plot([peer], [place], "o", mfc="none", mec="#c2571a", ms=5)
            axis.plot([row.auroc[OURS]], [place], "o", color=COLOURS[row.level], ms=6)
        axis.axvline(0.5, color="#bbbbbb", lw=1)
        axis.set(xlim=(0.3, 1.02), yticks=range(len(kinds)), title=result.title, xlabel="AUROC")
        axis.set_yticklabels(kinds, fontsize=8)
        axis.grid(axis="y", color="#eeeeee")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].invert_yaxis()
    figure.suptitle("the darker the stronger; ring: best of five peers", fontsize=10)
    with atomic_file(path) as file:
        figure.savefig(file, dpi=110)
