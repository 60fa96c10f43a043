"""Limits from reviews: ``driveforge calibrate --from-review`` proposes them and shows what would change.

The limits of all measures are moved together, to the strictest ones that reject at most the configured share of the
clips that reviewers accept. Each reviewed clip counts for the clips of its kind, accepted or rejected by the gate, so
that it does not matter of which kind more were reviewed; within a kind, the reviewed clips must be like the others.
"""

import argparse
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rich import get_console
from rich.table import Table

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import create_file
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.console import plain_text, print_result
from driveforge.pipelines.review.decisions import read_review_overrides
from driveforge.pipelines.tracking.runs import pipeline_run
from driveforge.pipelines.validate.gate import read_candidates
from driveforge.validation.calibration import Calibration
from driveforge.validation.cross_conformal import num_scenes_needed
from driveforge.validation.proportion import wilson_interval
from driveforge.validation.records import Measures
from driveforge.validation.verdict import judge

_MOVED = re.compile(r", moved by \d+ reviews$")
MAX_LISTED = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class ReviewedClip:
    """A clip with a reviewer's verdict: ``margin`` is its score above the limit, ``weight`` the clips it stands for."""

    clip_id: str
    is_good: bool
    margin: float
    weight: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A clip whose verdict of the gate would be another; ``review`` is "good", "broken" or "not reviewed"."""

    clip_id: str
    before: str
    after: str
    review: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """Limits moved by ``shift`` of the joint score, from ``reviewed`` clips, and all ``changes`` that they cause."""

    calibration: Calibration
    shift: float
    reviewed: Sequence[ReviewedClip]
    changes: Sequence[Change]


def main(config: Config, args: argparse.Namespace) -> None:
    """Show the proposal; write it with ``args.apply``, and keep the former limits beside it."""
    run, path = config.run, config.calibration_path
    calibration = Calibration.load(path)
    candidates = [candidate.measures for candidate in read_candidates(run)]
    reviews = {clip_id: override.state == "accepted" for clip_id, override in read_review_overrides(run).items()}
    proposal = propose(candidates, reviews, calibration, config.validate.false_reject_rate)
    console = get_console()
    console.print(changes_table(proposal))
    for line in describe_proposal(proposal):
        print_result(line)
    if not args.apply:
        print_result(f"Nothing was changed; --apply writes these limits to {path}")
        return
    former = path.with_name(f"{path.stem}-before-review.json")
    create_file(former, path.read_bytes())  # the first one is kept: those of the known-good clips
    proposal.calibration.save(path)
    with pipeline_run(config, "calibrate") as tracker:
        tracker.log_artifact(path)
    print_result(f"{path} is written, the limits before reviews are in {former.name}; run `driveforge gate`")


def propose(
    clip_measures: Sequence[Measures], reviews: Mapping[str, bool], calibration: Calibration, false_reject_rate: float
) -> Proposal:
    """Limits from ``reviews``, which say of clips whether they are good.

    Raises UserError if too few clips are reviewed, or only clips that the gate accepts or only others.
    """
    before = {m.clip_id: _gate_state(m, calibration) for m in clip_measures}
    reviewed = _weigh(clip_measures, before, reviews, calibration)
    shift, rejected_share = find_shift([clip for clip in reviewed if clip.is_good], false_reject_rate)
    moved = _move(calibration, shift, reviewed, rejected_share, false_reject_rate)
    changes = []
    for measures in clip_measures:
        after = _gate_state(measures, moved)
        if after != before[measures.clip_id]:
            review = {True: "good", False: "broken", None: "not reviewed"}[reviews.get(measures.clip_id)]
            changes.append(
                Change(clip_id=measures.clip_id, before=before[measures.clip_id], after=after, review=review)
            )
    return Proposal(calibration=moved, shift=shift, reviewed=reviewed, changes=changes)


def _gate_state(measures: Measures, calibration: Calibration) -> str:
    return judge(measures, calibration).state


def _weigh(
    clip_measures: Sequence[Measures], states: Mapping[str, str], reviews: Mapping[str, bool], calibration: Calibration
) -> list[ReviewedClip]:
    """The reviewed clips; clips that the gate could not measure are left out, no limit changes them."""
    totals = Counter(states.values())
    counted = Counter(states[m.clip_id] for m in clip_measures if m.clip_id in reviews)
    for state in ("accepted", "rejected"):
        if totals[state] and not counted[state]:
            raise UserError(
                f"reviewers judged none of the {totals[state]} clips that the gate {state}: judge the blind audit of "
                "`driveforge review`, which has both"
            )
    return [
        ReviewedClip(
            clip_id=m.clip_id,
            is_good=reviews[m.clip_id],
            margin=calibration.score(m) - calibration.threshold(m).score,
            weight=totals[states[m.clip_id]] / counted[states[m.clip_id]],
        )
        for m in clip_measures
        if m.clip_id in reviews and states[m.clip_id] != "unmeasured"
    ]


def find_shift(good: Sequence[ReviewedClip], false_reject_rate: float) -> tuple[float, float]:
    """The lowest shift of the limits that rejects at most this share of clips like the ``good`` ones, and that share.

    The weighted conformal quantile (Tibshirani et al. 2019): a further clip counts as rejected. Raises UserError if
    there are too few.
    """
    needed = num_scenes_needed(false_reject_rate)
    if len(good) < needed:
        raise UserError(
            f"reviewers accept {len(good)} measured clips, and a false-reject rate of {false_reject_rate:g} needs "
            f"{needed}: judge more clips, or raise validate.false_reject_rate"
        )
    largest = max(clip.weight for clip in good)
    total = sum(clip.weight for clip in good) + largest
    shift, rejected = None, largest
    for clip in sorted(good, key=lambda clip: -clip.margin):
        if rejected > false_reject_rate * total:
            break
        shift = clip.margin
        rejected += clip.weight
    if shift is None:
        raise UserError(
            f"one of the {len(good)} clips that reviewers accept stands for {largest / total:.0%} of all: judge more "
            "clips of its kind, or raise validate.false_reject_rate"
        )
    return shift, (largest + sum(clip.weight for clip in good if clip.margin > shift)) / total


def _move(
    calibration: Calibration, shift: float, reviewed: Sequence[ReviewedClip], share: float, rate: float
) -> Calibration:
    """``calibration`` with moved thresholds; its audit and its detection power were those of other limits."""
    num_good = sum(clip.is_good for clip in reviewed)
    thresholds = tuple(
        replace(one, score=one.score + shift, achieved_rate=share, num_scenes=num_good, num_clips=num_good)
        for one in calibration.thresholds
    )
    name = f"{_MOVED.sub('', calibration.name)}, moved by {len(reviewed)} reviews"
    return replace(calibration, name=name, false_reject_rate=rate, thresholds=thresholds, audit=None, power=())


def describe_proposal(proposal: Proposal) -> list[str]:
    """How often the gate is wrong about reviewed clips, before and after."""
    good = [clip for clip in proposal.reviewed if clip.is_good]
    broken = [clip for clip in proposal.reviewed if not clip.is_good]
    lines = [f"Limits of the joint score move by {proposal.shift:+.2f}, from {len(proposal.reviewed)} reviewed clips"]
    for what, clips, is_wrong in (("good clips rejected", good, True), ("broken clips accepted", broken, False)):
        before = sum((clip.margin > 0) == is_wrong for clip in clips)
        after = sum((clip.margin > proposal.shift) == is_wrong for clip in clips)
        if clips:
            low, high = wilson_interval(after, len(clips))
            interval = f"95 % interval {100 * low:.0f} to {100 * high:.0f} %"
            lines.append(f"Reviewed {what}: {before} of {len(clips)} now, {after} then ({interval})")
    return lines


def changes_table(proposal: Proposal) -> Table:
    """The clips whose verdict would change, counted by kind, with the first ones of each."""
    kinds: dict[tuple[str, str, str], list[str]] = {}
    for change in proposal.changes:
        kinds.setdefault((change.before, change.after, change.review), []).append(change.clip_id)
    table = Table("now", "then", "reviewers say", "clips", "for example", title="What would change")
    table.columns[4].overflow = "fold"
    for (before, after, review), clips in sorted(kinds.items()):
        more = f" and {len(clips) - MAX_LISTED} more" if len(clips) > MAX_LISTED else ""
        table.add_row(before, after, review, str(len(clips)), plain_text(", ".join(clips[:MAX_LISTED]) + more))
    return table
