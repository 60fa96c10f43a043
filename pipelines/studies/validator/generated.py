"""Real output of world models, labeled by eye, as the gate and its baselines see it: a section of the validator study.

The clips, how each was made and who labeled them by what: ``labeled_clips``.
"""

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from driveforge.datasets.source import Item
from driveforge.datasets.webdataset_shards.format import scene_from_members
from driveforge.datasets.webdataset_shards.source import sample_item
from driveforge.datasets.webdataset_shards.tar_samples import read_samples
from driveforge.pipelines.generate.command import load_generator
from driveforge.pipelines.inputs.settings import SimulatedData
from driveforge.pipelines.processes.parallel import parallel_map
from driveforge.pipelines.registry.models import BASE
from driveforge.pipelines.studies.validator.baselines.catalog import BASELINES
from driveforge.pipelines.studies.validator.results import OURS, RATE, auroc, baseline_score
from driveforge.pipelines.validate.calibrate import FILLER_DOMAINS, KnownGoodClip, measure_known_good
from driveforge.validation.calibration import Calibration
from driveforge.validation.cross_conformal import calibrate
from driveforge.validation.guarantee import describe_false_reject_rate
from driveforge.validation.measures import measure
from driveforge.validation.records import Measures
from driveforge.validation.verdict import Verdict, judge

FOLDER = Path(__file__).parent / "labeled_clips"
NUM_GOOD = 300
RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True, slots=True)
class LabeledClip:
    """A generated clip as its rater saw it: ``severity`` from 0 (clean) to 3 (worthless), ``what`` is wrong in words.

    ``group`` says how it was made, which the pictures that it was labeled by do not say.
    """

    clip_id: str
    group: str
    broken: bool
    severity: int
    what: str


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredLabeledClip:
    """A labeled clip as it was measured, by us and by baselines."""

    label: LabeledClip
    measures: Measures
    baselines: Mapping[str, float | None]


def generated_section(seed: int) -> str:
    """The section in Markdown: limits from simulated clips of ``seed`` through the shipped codec, then the verdicts.

    Some three minutes on two cores.
    """
    labels = read_labels()
    items = [sample_item(FOLDER / "clips.tar", label.clip_id) for label in labels]
    measured = parallel_map(_measure, items)
    seen = [
        MeasuredLabeledClip(label=label, measures=m, baselines=p)
        for label, (m, p) in zip(labels, measured, strict=True)
    ]
    return section(seen, fit_limits(seed))


def read_labels(folder: Path = FOLDER) -> list[LabeledClip]:
    """The labels of ``folder/labels.csv``, in its order, with the groups that the clips themselves name."""
    groups = {key: scene_from_members(members, key)[1]["group"] for key, members in read_samples(folder / "clips.tar")}
    with (folder / "labels.csv").open(newline="") as file:
        return [
            LabeledClip(
                clip_id=row["clip"],
                group=groups[row["clip"]],
                broken=row["label"] == "broken",
                severity=int(row["severity"]),
                what=row["what"],
            )
            for row in csv.DictReader(file)
        ]


def fit_limits(seed: int) -> Calibration:
    """Limits for clips of the shipped model's size, as `driveforge calibrate` makes them: no clip here is generated."""
    data = SimulatedData(
        name="simulated",
        num_scenes=NUM_GOOD,
        domains=FILLER_DOMAINS,
        seed=seed,
        height=96,
        width=160,
        frame_rate=10.0,
        num_frames=17,
        stride=17,
    )
    items = [KnownGoodClip(data=data, number=number) for number in range(NUM_GOOD)]
    measured = [measures for _, measures in measure_known_good(items, partial(load_generator, BASE))]
    return calibrate(measured, name="simulated clips through the shipped codec", false_reject_rate=RATE)


def _measure(item: Item) -> tuple[Measures, dict[str, float | None]]:
    clip = item.load()
    return measure(clip), {name: baseline(clip).value for name, baseline in BASELINES.items()}


def section(seen: Sequence[MeasuredLabeledClip], calibration: Calibration) -> str:
    """What the limits and the baselines make of the labeled clips, in Markdown."""
    verdicts = {clip.label.clip_id: judge(clip.measures, calibration) for clip in seen}
    return "\n".join(
        [
            _intro(seen, calibration),
            *_auroc_rows(seen, calibration),
            "",
            *_group_rows(seen, verdicts),
            "",
            *_reason_rows(seen, verdicts),
            "",
            *_disagreement_rows(seen, verdicts),
            "",
        ]
    )


def _intro(seen: Sequence[MeasuredLabeledClip], calibration: Calibration) -> str:
    num_broken = sum(clip.label.broken for clip in seen)
    return f"""{len(seen)} clips of 17 frames at 96 x 160: an earlier base as it was used, the same over-guided,
and one whose training was stopped early (`pipelines/studies/validator/labeled_clips`). By looks alone, one rater called
{num_broken} broken. Limits are from {NUM_GOOD} simulated clips through the shipped codec; of good ones they refuse
{describe_false_reject_rate(calibration)}. Intervals hold 95 % of {RESAMPLES} resamplings of the clips.
"""


def _auroc_rows(seen: Sequence[MeasuredLabeledClip], calibration: Calibration) -> Iterator[str]:
    """How well each judge tells broken clips from usable ones."""
    judges: dict[str, Callable[[MeasuredLabeledClip], float]] = {OURS: lambda clip: calibration.score(clip.measures)}
    judges |= {name: partial(_baseline_scores, name) for name in BASELINES}
    broken = [clip.label.broken for clip in seen]
    yield "| judge | AUROC, broken against usable | 95 % interval |"
    yield "| --- | --- | --- |"
    for name, score in judges.items():
        scores = [score(clip) for clip in seen]
        low, high = interval(scores, broken)
        words = name.removeprefix("baseline_").replace("_", " ")
        yield f"| {words} | {_auroc(scores, broken):.3f} | {low:.2f} to {high:.2f} |"


def _baseline_scores(name: str, clip: MeasuredLabeledClip) -> float:
    return baseline_score(clip.baselines.get(name))


def _auroc(scores: Sequence[float], broken: Sequence[bool]) -> float:
    good = [score for score, bad in zip(scores, broken, strict=True) if not bad]
    return auroc(good, [score for score, bad in zip(scores, broken, strict=True) if bad])


def interval(scores: Sequence[float], broken: Sequence[bool]) -> tuple[float, float]:
    """Percentile bootstrap of the AUROC at 95 %, usable and broken clips resampled apart (Efron 1979)."""
    values, is_broken = np.array(scores), np.array(broken)
    good, bad = values[~is_broken], values[is_broken]
    wins = (bad > good[:, None]) + 0.5 * (bad == good[:, None])
    rng = np.random.default_rng(0)
    of_good, of_bad = (rng.multinomial(n, np.full(n, 1 / n), RESAMPLES) / n for n in wins.shape)
    drawn = np.einsum("rg,gb,rb->r", of_good, wins, of_bad, optimize=True)
    return float(np.quantile(drawn, 0.025)), float(np.quantile(drawn, 0.975))


def _group_rows(seen: Sequence[MeasuredLabeledClip], verdicts: Mapping[str, Verdict]) -> Iterator[str]:
    yield "| how it was made | broken, not accepted | usable, not accepted |"
    yield "| --- | --- | --- |"
    for group in [*dict.fromkeys(clip.label.group for clip in seen), "all"]:
        cells = []
        for broken in (True, False):
            some = [clip for clip in seen if clip.label.broken == broken and group in (clip.label.group, "all")]
            rejections = sum(verdicts[clip.label.clip_id].state != "accepted" for clip in some)
            cells.append(f"{rejections} of {len(some)}" if some else "")
        yield f"| {group} | {cells[0]} | {cells[1]} |"


def _reason_rows(seen: Sequence[MeasuredLabeledClip], verdicts: Mapping[str, Verdict]) -> Iterator[str]:
    """Which measures spoke against broken clips, and which of them alone."""
    measures_by_clip = [{r.measure for r in verdicts[clip.label.clip_id].reasons} for clip in seen if clip.label.broken]
    counts = Counter(name for names in measures_by_clip for name in names)
    sole_reasons = Counter(name for names in measures_by_clip if len(names) == 1 for name in names)
    yield "| measure that spoke against broken clips | clips | alone |"
    yield "| --- | --- | --- |"
    for name, count in counts.most_common():
        yield f"| {name} | {count} | {sole_reasons[name] or ''} |"


def _disagreement_rows(seen: Sequence[MeasuredLabeledClip], verdicts: Mapping[str, Verdict]) -> Iterator[str]:
    """Every clip on which eye and gate differ."""
    yield "| clip | how it was made | by eye (severity) | by the gate |"
    yield "| --- | --- | --- | --- |"
    for clip in seen:
        verdict, label = verdicts[clip.label.clip_id], clip.label
        if label.broken != (verdict.state != "accepted"):
            by_eye = f"{'broken' if label.broken else 'usable'} ({label.severity}): {label.what}"
            reason = verdict.reasons[0].text if verdict.reasons else "accepted"
            yield f"| {label.clip_id} | {label.group} | {by_eye} | {reason} |"
