"""The report of the validator study: tables in Markdown, and a picture."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import rankdata

from pipelines.config import StudyConfig
from pipelines.study_trials import LEVELS, Trial
from validation.calibration import Calibration, calibrate, upper_bound
from validation.corruptions.catalogue import CORRUPTIONS
from validation.peers import PEERS
from validation.verdict import judge

RATE = 0.01
OURS = "ours"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One corruption at one strength: AUROC against good clips by each judge, and the share the gate let not pass."""

    kind: str
    level: str
    num_clips: int
    auroc: Mapping[str, float]
    detected: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What the study found at one size: ``rejected`` holds (rejects, clips) of audited good clips by condition."""

    rows: int
    calibration: Calibration
    rejected: Mapping[str, tuple[int, int]]
    table: tuple[Row, ...]
    seconds: float


def write_report(path: Path, trials: Mapping[int, Sequence[Trial]], settings: StudyConfig) -> None:
    """Write the report, and its picture beside it."""
    results = [evaluate(rows, of_size, settings.num_good) for rows, of_size in trials.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    draw(path.with_suffix(".png"), results)
    path.write_text(markdown(results, path.with_suffix(".png").name))


def evaluate(rows: int, trials: Sequence[Trial], num_good: int) -> Result:
    good = [trial for trial in trials if not trial.kind]
    to_calibrate, audited = good[:num_good], good[num_good:]
    limits = calibrate([trial.measures for trial in to_calibrate], name=f"{rows} rows", false_reject_rate=RATE)
    spoilt = defaultdict(list)
    for trial in trials:
        if trial.kind:
            spoilt[trial.kind, trial.level].append(trial)
    return Result(
        rows=rows,
        calibration=limits,
        rejected=_rejected(audited, limits),
        table=tuple(_row(kind, level, some, audited, limits) for (kind, level), some in spoilt.items()),
        seconds=float(np.median([trial.seconds for trial in trials])),
    )


def _rejected(audited: Iterable[Trial], limits: Calibration) -> dict[str, tuple[int, int]]:
    counts: dict[str, list[int]] = {}
    for trial in audited:
        bad = judge(trial.measures, limits).state != "accepted"
        around = trial.measures.circumstances
        names = {"all", trial.condition} | ({around.motion} if around else set())
        for name in sorted(names):
            rejects, total = counts.get(name, [0, 0])
            counts[name] = [rejects + bad, total + 1]
    return {name: (rejects, total) for name, (rejects, total) in sorted(counts.items())}


def _row(kind: str, level: str, spoilt: Sequence[Trial], good: Sequence[Trial], limits: Calibration) -> Row:
    judges: dict[str, Callable[[Trial], float]] = {OURS: lambda trial: limits.score(trial.measures)}
    for name in PEERS:
        judges[name] = lambda trial, name=name: _or_none(trial.peers.get(name))  # type: ignore[misc]
    return Row(
        kind=kind,
        level=level,
        num_clips=len(spoilt),
        auroc={name: auroc([score(t) for t in good], [score(t) for t in spoilt]) for name, score in judges.items()},
        detected=float(np.mean([judge(trial.measures, limits).state != "accepted" for trial in spoilt])),
    )


def _or_none(value: float | None) -> float:
    """A peer that cannot tell says that the clip is good."""
    return -np.inf if value is None else value


def auroc(good: Sequence[float], bad: Sequence[float]) -> float:
    """Probability that a bad clip scores higher than a good one, ties by half (Mann and Whitney 1947)."""
    ranks = rankdata([*good, *bad])
    return float((ranks[len(good) :].sum() - len(bad) * (len(bad) + 1) / 2) / (len(good) * len(bad)))


def mean_auroc(result: Result, level: str, judge_name: str = OURS) -> float:
    return float(np.mean([row.auroc[judge_name] for row in result.table if row.level == level]))


def markdown(results: Sequence[Result], picture: str) -> str:
    parts = [_HEAD, f"![AUROC of every corruption]({picture})\n", "## In the mean\n", _summary(results)]
    parts += ["## False rejects\n", _false_rejects(results)]
    for result in results:
        parts += [f"## Every corruption at {result.rows} rows\n", _table(result)]
    return "\n".join(parts)


_HEAD = """# Study: what the validator sees

Made by `driveforge study validator`. Good clips are simulated drives of 24 frames at 10 Hz, worn as recordings are
(noise, blur, compression, drifting exposure, commands and boxes a little off), by night, with a poor camera, fast and
standing too. Limits are calibrated at a nominal 1 % of false rejects; AUROC is that of the largest surprise over all
measures, against audited good clips of every condition. Peers' measures judge the same clips
(`validation/peers.py` says after whom); ordinary clips are spoilt, each kind mildly and strongly.
"""


def _summary(results: Sequence[Result]) -> str:
    names = [OURS, *PEERS]
    lines = ["| mean AUROC, strong / mild | " + " | ".join(f"{r.rows} rows" for r in results) + " |"]
    lines.append("| --- |" + " --- |" * len(results))
    for name in names:
        cells = [f"{mean_auroc(r, 'strong', name):.3f} / {mean_auroc(r, 'mild', name):.3f}" for r in results]
        lines.append(f"| {name.removeprefix('peer_').replace('_', ' ')} | " + " | ".join(cells) + " |")
    cells = [f"{r.seconds:.2f} s" for r in results]
    lines.append("| ours, seconds of one core a clip | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _false_rejects(results: Sequence[Result]) -> str:
    conditions = sorted({name for result in results for name in result.rejected})
    lines = ["| good clips | " + " | ".join(f"{r.rows} rows" for r in results) + " |"]
    lines.append("| --- |" + " --- |" * len(results))
    for name in conditions:
        cells = []
        for result in results:
            rejects, total = result.rejected.get(name, (0, 0))
            bound = f", at most {upper_bound(rejects, total):.1%}" if total and name == "all" else ""
            cells.append(f"{rejects} of {total}{bound}" if total else "")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n\nThe bound is that of Clopper and Pearson at 95 % confidence.\n"


def _table(result: Result) -> str:
    best_peer = "best peer"
    lines = [
        f"| corruption | strength | clips | AUROC | detected | {best_peer} |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in result.table:
        about = CORRUPTIONS[row.kind]
        strength = about.mild if row.level == "mild" else about.strong
        peer = max(PEERS, key=lambda name: row.auroc[name])
        words = f"{row.auroc[peer]:.2f} {peer.removeprefix('peer_').replace('_', ' ')}"
        lines.append(
            f"| {row.kind} | {strength:g} {about.unit} | {row.num_clips} | {row.auroc[OURS]:.3f} | {row.detected:.0%} "
            f"| {words} |"
        )
    return "\n".join(lines) + "\n"


def draw(path: Path, results: Sequence[Result]) -> None:
    """A dot for every corruption, strength and size: ours filled, the best peer's as a ring."""
    kinds = list(dict.fromkeys(row.kind for result in results for row in result.table))
    figure = Figure(figsize=(4.2 * len(results) + 1.5, 1.2 + 0.26 * len(kinds)), layout="constrained")
    axes = figure.subplots(1, len(results), sharey=True, squeeze=False)[0]
    for axis, result in zip(axes, results, strict=True):
        for row in result.table:
            place = kinds.index(row.kind) + (0.18 if row.level == LEVELS[0] else -0.18)
            colour = "#7fb2e5" if row.level == LEVELS[0] else "#1f4e8c"
            peer = max(row.auroc[name] for name in PEERS)
            axis.plot([peer], [place], "o", mfc="none", mec="#c2571a", ms=5)
            axis.plot([row.auroc[OURS]], [place], "o", color=colour, ms=6)
        axis.axvline(0.5, color="#bbbbbb", lw=1)
        axis.set(xlim=(0.3, 1.02), yticks=range(len(kinds)), title=f"{result.rows} rows", xlabel="AUROC")
        axis.set_yticklabels(kinds, fontsize=8)
        axis.grid(axis="y", color="#eeeeee")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].invert_yaxis()
    figure.suptitle("dark: strong, light: mild, ring: best peer of five", fontsize=10)
    figure.savefig(path, dpi=110)
