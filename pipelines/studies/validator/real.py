"""Real footage in the validator study: false rejects under limits from simulated clips, with and without real ones."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.errors import UserError
from driveforge.datasets.progress import track
from driveforge.datasets.scene import Clip
from driveforge.datasets.select_frames import select_clip_frames
from driveforge.datasets.source import Item
from driveforge.pipelines.inputs.items import list_clips
from driveforge.pipelines.processes.parallel import parallel_map
from driveforge.pipelines.studies.validator.results import RATE, auroc
from driveforge.pipelines.studies.validator.trials import strengths
from driveforge.validation.calibration import Calibration
from driveforge.validation.corruptions.catalog import CORRUPTIONS, corrupt
from driveforge.validation.corruptions.requirements import CorruptionNotApplicable
from driveforge.validation.cross_conformal import calibrate
from driveforge.validation.measures import measure
from driveforge.validation.records import Measures
from driveforge.validation.verdict import judge

ROWS = 256
FRAMES = 16
CORRUPTION_STRIDE = 3
# Corruptions that apply to footage of one camera without boxes.
CORRUPTION_TYPES = tuple(
    corruption_type
    for corruption_type, corruption in CORRUPTIONS.items()
    if set(corruption.requirements) <= {"pose"} and corruption.group != "objects"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class FootageWindow:
    """``FRAMES`` frames of an ``item`` from ``first`` on, in a ``sequence``; good if ``corruption_type`` is ""."""

    item: Item
    sequence: str
    first: int
    corruption_type: str = ""
    level: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredWindow:
    """A window and its measures."""

    window: FootageWindow
    measures: Measures


def real_section(roots: Sequence[Path], simulated: Sequence[Measures]) -> str:
    """The section on the footage under ``roots`` in Markdown; ``simulated`` are good clips of ``ROWS`` rows.

    Each sequence is audited under limits from the simulated clips and the other sequences; a single sequence under
    limits from its other half. Raises UserError if a recording is too short or has no pose.
    """
    good = [window for root in roots for window in _windows(root)]
    corrupted = [
        replace(window, corruption_type=corruption_type, level=level)
        for window in good[::CORRUPTION_STRIDE]
        for corruption_type in CORRUPTION_TYPES
        for level in strengths(corruption_type)
    ]
    jobs = [*good, *corrupted]
    results = track(parallel_map(measure_window, jobs), "Measuring real footage", total=len(jobs))
    return _markdown([seen for seen in results if seen], simulated)


def _windows(root: Path) -> Iterator[FootageWindow]:
    items = list_clips(root, height=ROWS)
    for item in items:
        clip = _load_clip(item)
        length = clip.scene.num_frames
        if clip.scene.ego_to_world is None or length < 2 * FRAMES:
            raise UserError(f"real: {item.name} needs a pose and {2 * FRAMES} frames or more, but has {length} frames")
        half = length // 2
        for first in range(length - FRAMES + 1):
            if len(items) > 1:
                yield FootageWindow(item=item, sequence=item.name, first=first)
            elif first + FRAMES <= half or first >= half:
                part = "first half" if first < half else "second half"
                yield FootageWindow(item=item, sequence=f"{item.name}, {part}", first=first)


@lru_cache(maxsize=1)
def _load_clip(item: Item) -> Clip:
    return item.load()


def measure_window(window: FootageWindow) -> MeasuredWindow | None:
    """Corrupt and measure a window; None if the corruption does not apply."""
    whole = _load_clip(window.item)
    clip = select_clip_frames(whole, window.first + np.arange(FRAMES))
    if window.corruption_type:
        other = select_clip_frames(whole, _distant_window(window.first, whole.scene.num_frames))
        strength = strengths(window.corruption_type)[window.level]
        try:
            clip = corrupt(clip, window.corruption_type, strength, seed=window.first, other=other)
        except CorruptionNotApplicable:
            return None
    return MeasuredWindow(window=window, measures=measure(clip))


def _distant_window(first: int, length: int) -> NDArray[np.int64]:
    """The first or the last window of the recording, whichever is farther away."""
    return np.arange(FRAMES) if first > length // 2 else length - FRAMES + np.arange(FRAMES)


def _markdown(seen: Sequence[MeasuredWindow], simulated: Sequence[Measures]) -> str:
    simulated_limits = calibrate(simulated, name="simulated", false_reject_rate=RATE)
    sequences = sorted({s.window.sequence for s in seen})
    audits, results = [], []
    for held_out in sequences:
        other_windows = [s for s in seen if s.window.sequence != held_out and not s.window.corruption_type]
        limits = _calibrate_with(simulated, other_windows)
        good = [s.measures for s in seen if s.window.sequence == held_out and not s.window.corruption_type]
        audits.append(_audit_row(held_out, good, simulated_limits, limits))
        scores = [limits.score(measures) for measures in good]
        for s in seen:
            if s.window.sequence == held_out and s.window.corruption_type:
                detected = judge(s.measures, limits).state != "accepted"
                results.append(
                    (s.window.corruption_type, s.window.level, auroc(scores, [limits.score(s.measures)]), detected)
                )
    return "\n".join([_HEAD, *audits, "", *_corruption_rows(results), ""])


def _calibrate_with(simulated: Sequence[Measures], other_windows: Sequence[MeasuredWindow]) -> Calibration:
    scenes = [measures.clip_id for measures in simulated] + [s.window.sequence for s in other_windows]
    return calibrate(
        [*simulated, *(s.measures for s in other_windows)], name="with others", false_reject_rate=RATE, scenes=scenes
    )


def _audit_row(sequence: str, good: Sequence[Measures], simulated_limits: Calibration, limits: Calibration) -> str:
    cells = [f"{_count_rejected(good, which)} of {len(good)}" for which in (simulated_limits, limits)]
    return f"| {sequence} | {cells[0]} | {cells[1]} | {_reasons(good, simulated_limits)} | {_reasons(good, limits)} |"


def _count_rejected(good: Iterable[Measures], limits: Calibration) -> int:
    return sum(judge(measures, limits).state != "accepted" for measures in good)


def _reasons(good: Iterable[Measures], limits: Calibration) -> str:
    verdicts = [judge(measures, limits) for measures in good]
    counts = Counter(verdict.reasons[0].measure for verdict in verdicts if verdict.reasons)
    return ", ".join(f"{name} {count}" for name, count in counts.most_common(3))


def _corruption_rows(results: Sequence[tuple[str, str, float, bool]]) -> list[str]:
    lines = ["| corruption | windows | AUROC | detected |", "| --- | --- | --- | --- |"]
    for case in dict.fromkeys((corruption_type, level) for corruption_type, level, *_ in results):
        of_case = [
            (rank, detected) for corruption_type, level, rank, detected in results if (corruption_type, level) == case
        ]
        ranks, detections = zip(*of_case, strict=True)
        strength = f"{strengths(case[0])[case[1]]:g} {CORRUPTIONS[case[0]].unit}"
        lines.append(f"| {case[0]}, {strength} | {len(ranks)} | {np.mean(ranks):.3f} | {np.mean(detections):.0%} |")
    return lines


_HEAD = f"""Recorded footage with its recorded poses, {ROWS} rows high, in windows of {FRAMES} frames. The windows
overlap, so they are not independent. A sequence is tested with limits at a nominal {RATE:.0%} from the simulated clips
only, and from these with the other sequences added (for a single recording: its other half). AUROC and detection are
for corrupted windows under the latter limits. A rig with some fitted footage gets an offset for its higher measures
(`validation/tail_model.py`).

| held out | rejected, simulated limits | rejected, others added | reasons, simulated limits | reasons, others added |
| --- | --- | --- | --- | --- |"""
