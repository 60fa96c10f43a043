"""What each measure detects in isolation: the corruptions that it separates best from good clips."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from driveforge.pipelines.studies.validator.results import auroc
from driveforge.pipelines.studies.validator.trials import Trial
from driveforge.validation.calibration import Calibration
from driveforge.validation.catalog import DEFINITIONS, get_definition
from driveforge.validation.measure_definition import FAMILIES

CAMERA_FAMILIES = ("cameras",)
SINGLE_CAMERA_FAMILIES = tuple(family for family in FAMILIES if family not in CAMERA_FAMILIES)
LEVEL = "strong"
NUM_SHOWN = 3  # corruptions of each measure


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasureResult:
    """The median ``limit`` of one measure over good clips, and the AUROC by corruption type, the highest first."""

    measure: str
    limit: float
    auroc: Mapping[str, float]


def evaluate_measures(
    trials: Sequence[Trial], num_good: int, limits: Calibration, families: Collection[str]
) -> list[MeasureResult]:
    """Results of every measure of ``families`` with limits, against the good clips after the first ``num_good``.

    The score of a clip is the nonconformity score of the measure alone; a clip without a value counts as good.
    """
    audited = [trial for trial in trials if not trial.corruption_type][num_good:]
    corrupted = defaultdict(list)
    for trial in trials:
        if trial.corruption_type and trial.level == LEVEL:
            corrupted[trial.corruption_type].append(limits.nonconformity_scores(trial.measures))
    good = [limits.nonconformity_scores(trial.measures) for trial in audited]
    accepted = [limits.limits(trial.measures) for trial in audited]
    results = []
    for name, definition in DEFINITIONS.items():
        if definition.family in families and name in limits.tail_model_by_measure:
            by_type = {kind: auroc(_column(name, good), _column(name, bad)) for kind, bad in corrupted.items()}
            ranked = dict(sorted(by_type.items(), key=lambda item: -item[1]))
            limit = float(np.median([values[name] for values in accepted]))
            results.append(MeasureResult(measure=name, limit=limit, auroc=ranked))
    return results


def _column(name: str, scores: Sequence[Mapping[str, float]]) -> list[float]:
    return [score.get(name, -np.inf) for score in scores]


def measures_section(title: str, results: Sequence[MeasureResult]) -> str:
    """The section in Markdown: for each measure, the corruptions with the highest AUROC; ``title`` names the clips."""
    lines = ["| measure | limit | corruptions with the highest AUROC |", "| --- | --- | --- |"]
    for result in results:
        best = list(result.auroc.items())[:NUM_SHOWN]
        cells = ", ".join(f"{corruption_type} {value:.2f}" for corruption_type, value in best)
        lines.append(f"| `{result.measure}` | {get_definition(result.measure).unit.format(result.limit)} | {cells} |")
    missing = [f"`{name}`" for name in DEFINITIONS if name not in {result.measure for result in results}]
    without = f"\nThese measures have no limit in this study: {', '.join(missing)}.\n" if missing else ""
    return "\n".join([_ABOUT.format(title=title), *lines, without])


_ABOUT = """The AUROC of the nonconformity score of each measure alone, at {title}, for strong corruptions; a clip in
which a measure has no value counts as good. The limit is that of the measure alone in the median good clip. A measure
of the command is not expected to detect corruptions of the pixels, and the reverse.
"""
