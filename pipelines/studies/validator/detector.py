"""Objects found by a detector in the validator study: the measures that need one, on clips with and without errors."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from driveforge.datasets.scene import Clip
from driveforge.pipelines.processes.parallel import parallel_map
from driveforge.pipelines.studies.detector.study import SIMULATED_DETECTOR
from driveforge.pipelines.studies.validator.clips import CONDITIONS, GoodClip, make_clip
from driveforge.pipelines.studies.validator.results import auroc
from driveforge.pipelines.studies.validator.trials import strengths
from driveforge.validation.camera.tracked_view import TrackedView
from driveforge.validation.corruptions.catalog import CORRUPTIONS, corrupt
from driveforge.validation.corruptions.requirements import CorruptionNotApplicable
from driveforge.validation.instruments import Detector, Instruments
from driveforge.validation.measures import measure
from driveforge.validation.objects.detections import detection_measures
from driveforge.validation.objects.onnx_detector import load_detector
from driveforge.validation.point_tracking.tracks import Tracks
from driveforge.validation.views.boxes import project_boxes
from driveforge.validation.views.view import reference_view

MEASURES = ("object_uncommanded", "object_undetected")
CORRUPTION_TYPES = ("uncommanded-moving", "uncommanded-parked", "missing-vehicle", "vanish")
ROWS = (256, 128)
NUM_GOOD, NUM_CORRUPTED = 40, 24
NUM_TIMED = 4  # clips of each size that are also measured as a whole, to compare the time
FIRST = 400_000  # number of the first clip: no other part of the study has it


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectorTrial:
    """The values of ``MEASURES`` of one clip, and the seconds of one core that the detector took.

    ``corruption_type`` is "" for a good clip. ``all_seconds`` are those of all other measures, if they were taken.
    """

    rows: int
    corruption_type: str
    level: str
    values: Mapping[str, float]
    seconds: float
    all_seconds: float | None


def detector_section(seed: int) -> str:
    """The section in Markdown: how well the shipped detector's measures tell corrupted clips from good ones."""
    usual = [n for n in range(10 * NUM_CORRUPTED) if CONDITIONS[n % len(CONDITIONS)] == "usual"][:NUM_CORRUPTED]
    jobs = [
        *((GoodClip(number=FIRST + n, rows=rows, seed=seed), False) for rows in ROWS for n in range(NUM_GOOD)),
        *((GoodClip(number=FIRST + 1000 + n, rows=rows, seed=seed), True) for rows in ROWS for n in usual),
    ]
    return section([trial for trials in parallel_map(_try, jobs) for trial in trials])


def _try(job: tuple[GoodClip, bool]) -> list[DetectorTrial]:
    good, is_corrupted = job
    clip = make_clip(good)
    if not is_corrupted:
        return [_trial(clip, good.rows, "", "", with_all=good.number - FIRST < NUM_TIMED)]
    trials = []
    for corruption_type in CORRUPTION_TYPES:
        for level, strength in strengths(corruption_type).items():
            try:
                corrupted = corrupt(clip, corruption_type, strength, seed=good.number)
            except CorruptionNotApplicable:
                continue
            trials.append(_trial(corrupted, good.rows, corruption_type, level, with_all=False))
    return trials


def _trial(clip: Clip, rows: int, corruption_type: str, level: str, *, with_all: bool) -> DetectorTrial:
    view = reference_view(clip)
    tracked = TrackedView(
        view=view,
        boxes=project_boxes(view),
        tracks=Tracks(background=(), objects=()),
        instruments=Instruments(detector=_detector()),
    )
    start = time.process_time()
    values = {m.name: m.value or 0.0 for m in detection_measures(tracked)}
    seconds = time.process_time() - start
    start = time.process_time()
    if with_all:
        measure(clip)
    all_seconds = time.process_time() - start if with_all else None
    return DetectorTrial(
        rows=rows,
        corruption_type=corruption_type,
        level=level,
        values=values,
        seconds=seconds,
        all_seconds=all_seconds,
    )


@lru_cache(maxsize=1)
def _detector() -> Detector:
    return load_detector(SIMULATED_DETECTOR)


def section(trials: Sequence[DetectorTrial]) -> str:
    """The results in Markdown: the AUROC of each measure against good clips of the same size, and the time."""
    return "\n".join([_INTRO, *_auroc_rows(trials), "", *_time_rows(trials), ""])


_INTRO = f"""The shipped detector of simulated objects (`pipelines/studies/detector`) on {NUM_GOOD} good clips of every
condition and {NUM_CORRUPTED} ordinary clips for each size and corruption, none of which it was trained on. Every
measure is used alone, without limits; a clip to which it does not apply counts as 0.
"""


def _auroc_rows(trials: Sequence[DetectorTrial]) -> Iterator[str]:
    sizes = sorted({trial.rows for trial in trials}, reverse=True)
    columns = [f"{rows} rows, {name}" for rows in sizes for name in MEASURES]
    yield "| AUROC | clips | " + " | ".join(columns) + " |"
    yield "| --- |" + " --- |" * (len(columns) + 1)
    for kind in dict.fromkeys((trial.corruption_type, trial.level) for trial in trials if trial.corruption_type):
        of_kind = [trial for trial in trials if (trial.corruption_type, trial.level) == kind]
        cells = [_auroc(trials, of_kind, rows, name) for rows in sizes for name in MEASURES]
        counts = ", ".join(str(sum(trial.rows == rows for trial in of_kind)) for rows in sizes)
        strength = f"{strengths(kind[0])[kind[1]]:g} {CORRUPTIONS[kind[0]].unit}"
        yield f"| {kind[0]}, {strength} | {counts} | " + " | ".join(cells) + " |"


def _auroc(trials: Sequence[DetectorTrial], corrupted: Sequence[DetectorTrial], rows: int, name: str) -> str:
    good = [trial.values[name] for trial in trials if not trial.corruption_type and trial.rows == rows]
    bad = [trial.values[name] for trial in corrupted if trial.rows == rows]
    return f"{auroc(good, bad):.3f}" if good and bad else ""


def _time_rows(trials: Sequence[DetectorTrial]) -> Iterator[str]:
    yield "| seconds of one core per clip | with the detector | all other measures |"
    yield "| --- | --- | --- |"
    for rows in sorted({trial.rows for trial in trials}, reverse=True):
        of_size = [trial for trial in trials if trial.rows == rows]
        others = [trial.all_seconds for trial in of_size if trial.all_seconds is not None]
        medians = [float(np.median(some)) for some in ([trial.seconds for trial in of_size], others)]
        yield f"| {rows} rows | {medians[0]:.2f} | {medians[1]:.2f} |"
