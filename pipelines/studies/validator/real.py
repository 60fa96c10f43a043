"""Real footage in the validator study: false rejects under limits from simulated clips, with and without real ones."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
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
from driveforge.pipelines.studies.validator.results import auroc
from driveforge.pipelines.studies.validator.trials import strengths
from driveforge.validation.calibration import Calibration
from driveforge.validation.corruptions.catalog import CORRUPTIONS, corrupt
from driveforge.validation.corruptions.requirements import CorruptionNotApplicable
from driveforge.validation.cross_conformal import calibrate
from driveforge.validation.degradations.recording import blur, compress, drift_exposure
from driveforge.validation.measures import measure
from driveforge.validation.records import Measures
from driveforge.validation.verdict import judge

ROWS = 256
FRAMES = 16
MAX_WINDOWS = 16  # of a sequence, evenly spaced; they may overlap
REAL_RATE = 0.02
CORRUPTION_STRIDE = 3
# What ordinary cameras and recorders do to a good recording: the gate must not reject it more often.
DEGRADATIONS: dict[str, Callable[[Clip], Clip]] = {
    "H.264, crf 28": partial(compress, crf=28),
    "blur, 0.7 px": partial(blur, sigma=0.7),
    "exposure, +-10 %": partial(drift_exposure, share=0.1),
}
# Corruptions that apply to footage of one camera without boxes.
CORRUPTION_TYPES = tuple(
    corruption_type
    for corruption_type, corruption in CORRUPTIONS.items()
    if set(corruption.requirements) <= {"pose"} and corruption.group != "objects"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class FootageWindow:
    """``FRAMES`` frames of an ``item`` from ``first`` on, in a ``sequence``.

    It is good, as recorded or with one of ``DEGRADATIONS``, unless it has a ``corruption_type``.
    """

    item: Item
    sequence: str
    first: int
    degradation: str = ""
    corruption_type: str = ""
    level: str = ""

    @property
    def is_as_recorded(self) -> bool:
        return not self.degradation and not self.corruption_type


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredWindow:
    """A window and its measures."""

    window: FootageWindow
    measures: Measures


def real_section(roots: Sequence[Path], simulated: Sequence[Measures]) -> str:
    """The section on the footage under ``roots`` in Markdown; ``simulated`` are good clips of ``ROWS`` rows.

    Each sequence is audited under limits from the simulated clips and the other sequences; a single sequence under
    limits from its other half. Footage without a pose is measured by its pixels alone. Raises UserError if a recording
    is too short.
    """
    good = _windows([item for root in roots for item in list_clips(root, height=ROWS)])
    degraded = [replace(window, degradation=degradation) for window in good for degradation in DEGRADATIONS]
    corrupted = [
        replace(window, corruption_type=corruption_type, level=level)
        for window in good[::CORRUPTION_STRIDE]
        for corruption_type in CORRUPTION_TYPES
        for level in strengths(corruption_type)
    ]
    jobs = [*good, *degraded, *corrupted]
    results = track(parallel_map(measure_window, jobs), "Measuring real footage", total=len(jobs))
    return _markdown([seen for seen in results if seen], simulated)


def _windows(items: Sequence[Item]) -> list[FootageWindow]:
    windows: list[FootageWindow] = []
    for item in items:
        length = _load_clip(item).scene.num_frames
        if length < 2 * FRAMES:
            raise UserError(f"real: {item.name} needs {2 * FRAMES} frames or more, but has {length}")
        if len(items) > 1:
            windows += _spread(item, item.name, 0, length)
        else:
            windows += _spread(item, f"{item.name}, first half", 0, length // 2)
            windows += _spread(item, f"{item.name}, second half", length // 2, length)
    return windows


def _spread(item: Item, sequence: str, start: int, stop: int) -> list[FootageWindow]:
    """Up to ``MAX_WINDOWS`` windows evenly spaced over the frames from ``start`` to before ``stop``."""
    count = min(MAX_WINDOWS, stop - start - FRAMES + 1)
    firsts = np.linspace(start, stop - FRAMES, count).round().astype(int)
    return [FootageWindow(item=item, sequence=sequence, first=int(first)) for first in firsts]


@lru_cache(maxsize=1)
def _load_clip(item: Item) -> Clip:
    return item.load()


def measure_window(window: FootageWindow) -> MeasuredWindow | None:
    """Degrade or corrupt and measure a window; None if the corruption does not apply."""
    whole = _load_clip(window.item)
    clip = select_clip_frames(whole, window.first + np.arange(FRAMES))
    if window.degradation:
        clip = DEGRADATIONS[window.degradation](clip)
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
    simulated_limits = calibrate(simulated, name="simulated", false_reject_rate=REAL_RATE)
    audits, results = [], []
    for held_out in sorted({s.window.sequence for s in seen}):
        others = [s for s in seen if s.window.sequence != held_out and s.window.is_as_recorded]
        limits = _calibrate_with(simulated, others)
        of_sequence = [s for s in seen if s.window.sequence == held_out]
        audits.append(_audit_row(held_out, of_sequence, simulated_limits, limits))
        scores = [limits.score(s.measures) for s in of_sequence if s.window.is_as_recorded]
        for s in of_sequence:
            if s.window.corruption_type:
                detected = judge(s.measures, limits).state != "accepted"
                results.append(
                    (s.window.corruption_type, s.window.level, auroc(scores, [limits.score(s.measures)]), detected)
                )
    return "\n".join([_HEAD, *audits, "", *_corruption_rows(results), ""])


def _calibrate_with(simulated: Sequence[Measures], other_windows: Sequence[MeasuredWindow]) -> Calibration:
    scenes = [measures.clip_id for measures in simulated] + [s.window.sequence for s in other_windows]
    return calibrate(
        [*simulated, *(s.measures for s in other_windows)],
        name="with others",
        false_reject_rate=REAL_RATE,
        scenes=scenes,
    )


def _audit_row(
    sequence: str, seen: Sequence[MeasuredWindow], simulated_limits: Calibration, limits: Calibration
) -> str:
    good = [s.measures for s in seen if s.window.is_as_recorded]
    degraded = [[s.measures for s in seen if s.window.degradation == name] for name in DEGRADATIONS]
    counts = [_count_rejected(good, simulated_limits), *(_count_rejected(some, limits) for some in (good, *degraded))]
    cells = [sequence, str(len(good)), *map(str, counts), _reasons(good, limits)]
    return f"| {' | '.join(cells)} |"


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


_HEAD = f"""Recorded footage, with its recorded poses if it has any, {ROWS} rows high, in up to {MAX_WINDOWS} windows of
{FRAMES} frames of each sequence. Windows overlap, so they are not independent. A sequence is tested with limits at a
nominal {REAL_RATE:.0%} from the simulated clips only, and from these with the other sequences added (for a single
recording: its other half), as recorded and with mild degradations. AUROC and detection are for corrupted windows under
the latter limits. A rig with some fitted footage gets an offset for its higher measures (`validation/tail_model.py`).

| held out | windows | rejected, simulated limits | rejected, others added | {" | ".join(DEGRADATIONS)} | reasons |
| --- | --- | --- | --- | {" | ".join("---" for _ in DEGRADATIONS)} | --- |"""
