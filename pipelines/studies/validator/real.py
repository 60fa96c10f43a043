"""Real footage in the validator study: what limits made on simulated clips do to it, and what a little of it mends."""

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
from driveforge.pipelines.inputs.items import Item, list_clips
from driveforge.pipelines.processes.parallel import on_all_cores
from driveforge.pipelines.studies.validator.results import RATE, auroc
from driveforge.pipelines.studies.validator.trials import strengths
from driveforge.validation.calibration import Calibration
from driveforge.validation.corruptions.catalogue import CORRUPTIONS, corrupt
from driveforge.validation.corruptions.requirements import NotApplicable
from driveforge.validation.cross_conformal import calibrate
from driveforge.validation.measures import measure
from driveforge.validation.records import Measures
from driveforge.validation.verdict import judge

ROWS = 256
FRAMES = 16
STRIDE_OF_SPOILT = 3
# What can be done to footage of one camera without boxes.
KINDS = tuple(kind for kind, about in CORRUPTIONS.items() if set(about.needs) <= {"pose"} and about.group != "objects")


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """``FRAMES`` frames of an ``item`` from ``first`` on, of a ``sequence``; spoilt by ``kind`` where there is one."""

    item: Item
    sequence: str
    first: int
    kind: str = ""
    level: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """A window and its measures."""

    window: Window
    measures: Measures


def real_section(roots: Sequence[Path], simulated: Sequence[Measures]) -> str:
    """Markdown on the footage under ``roots``; ``simulated`` are good clips of ``ROWS`` rows.

    Each sequence is audited under limits from the simulated clips and the other sequences; a single one under those of
    its other half. A UserError where a recording is shorter than a window or has no pose.
    """
    good = [window for root in roots for window in _windows(root)]
    spoilt = [
        replace(window, kind=kind, level=level)
        for window in good[::STRIDE_OF_SPOILT]
        for kind in KINDS
        for level in strengths(kind)
    ]
    jobs = [*good, *spoilt]
    results = track(on_all_cores(see, jobs), "Measuring real footage", total=len(jobs))
    return _markdown([seen for seen in results if seen], simulated)


def _windows(root: Path) -> Iterator[Window]:
    items = list_clips(root, height=ROWS)
    for item in items:
        clip = _load(item)
        length = clip.scene.num_frames
        if clip.scene.ego_to_world is None or length < 2 * FRAMES:
            raise UserError(f"study.real: {item.name} needs a pose and {2 * FRAMES} frames or more, it has {length}")
        half = length // 2
        for first in range(length - FRAMES + 1):
            if len(items) > 1:
                yield Window(item=item, sequence=item.name, first=first)
            elif first + FRAMES <= half or first >= half:
                part = "first half" if first < half else "second half"
                yield Window(item=item, sequence=f"{item.name}, {part}", first=first)


@lru_cache(maxsize=1)
def _load(item: Item) -> Clip:
    return item.load()


def see(window: Window) -> Seen | None:
    """Measured; None where a window cannot be spoilt like this."""
    whole = _load(window.item)
    clip = select_clip_frames(whole, window.first + np.arange(FRAMES))
    if window.kind:
        other = select_clip_frames(whole, _elsewhere(window.first, whole.scene.num_frames))
        try:
            clip = corrupt(clip, window.kind, strengths(window.kind)[window.level], seed=window.first, other=other)
        except NotApplicable:
            return None
    return Seen(window=window, measures=measure(clip))


def _elsewhere(first: int, length: int) -> NDArray[np.int64]:
    """The window at the end of the recording that is farther away."""
    return np.arange(FRAMES) if first > length // 2 else length - FRAMES + np.arange(FRAMES)


def _markdown(seen: Sequence[Seen], simulated: Sequence[Measures]) -> str:
    alone = calibrate(simulated, name="simulated", false_reject_rate=RATE)
    sequences = sorted({s.window.sequence for s in seen})
    audits, found = [], []
    for held_out in sequences:
        others = [s for s in seen if s.window.sequence != held_out and not s.window.kind]
        limits = _with(simulated, others)
        good = [s.measures for s in seen if s.window.sequence == held_out and not s.window.kind]
        audits.append(_audit_row(held_out, good, alone, limits))
        scores = [limits.score(measures) for measures in good]
        for s in seen:
            if s.window.sequence == held_out and s.window.kind:
                bad = judge(s.measures, limits).state != "accepted"
                found.append((s.window.kind, s.window.level, auroc(scores, [limits.score(s.measures)]), bad))
    return "\n".join([_HEAD, *audits, "", *_found_rows(found), ""])


def _with(simulated: Sequence[Measures], others: Sequence[Seen]) -> Calibration:
    scenes = [measures.clip_id for measures in simulated] + [s.window.sequence for s in others]
    return calibrate(
        [*simulated, *(s.measures for s in others)], name="with others", false_reject_rate=RATE, scenes=scenes
    )


def _audit_row(sequence: str, good: Sequence[Measures], alone: Calibration, limits: Calibration) -> str:
    cells = [f"{_rejected(good, which)} of {len(good)}" for which in (alone, limits)]
    return f"| {sequence} | {cells[0]} | {cells[1]} | {_reasons(good, alone)} | {_reasons(good, limits)} |"


def _rejected(good: Iterable[Measures], limits: Calibration) -> int:
    return sum(judge(measures, limits).state != "accepted" for measures in good)


def _reasons(good: Iterable[Measures], limits: Calibration) -> str:
    verdicts = [judge(measures, limits) for measures in good]
    counts = Counter(verdict.reasons[0].measure for verdict in verdicts if verdict.reasons)
    return ", ".join(f"{name} {count}" for name, count in counts.most_common(3))


def _found_rows(found: Sequence[tuple[str, str, float, bool]]) -> list[str]:
    lines = ["| corruption | windows | AUROC | detected |", "| --- | --- | --- | --- |"]
    for case in dict.fromkeys((kind, level) for kind, level, *_ in found):
        of_case = [(rank, bad) for kind, level, rank, bad in found if (kind, level) == case]
        ranks, bads = zip(*of_case, strict=True)
        strength = f"{strengths(case[0])[case[1]]:g} {CORRUPTIONS[case[0]].unit}"
        lines.append(f"| {case[0]}, {strength} | {len(ranks)} | {np.mean(ranks):.3f} | {np.mean(bads):.0%} |")
    return lines


_HEAD = f"""Recorded footage with the poses that were recorded, {ROWS} rows high, in windows of {FRAMES} frames.
They overlap, so their number says less than it seems to. Each sequence is judged by limits at a nominal {RATE:.0%} from
the simulated clips alone, and from these with the other sequences added (of a single recording: its other half). AUROC
and detection are of windows spoilt, under the latter limits. A rig of which some footage was fitted is allowed what its
measures lie higher (`validation/tail_model.py`).

| held out | rejected, simulated limits | rejected, others added | what spoke | what spoke still |
| --- | --- | --- | --- | --- |"""
