"""Labeled generated clips in the validator study: results of the gate and of baselines.

``labeled_clips/README.md`` describes the clips, how each was generated, and how they were labeled.
"""

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from driveforge.datasets.domains import DRIVING_DOMAINS
from driveforge.datasets.source import Item
from driveforge.datasets.webdataset_shards.format import scene_from_members
from driveforge.datasets.webdataset_shards.source import sample_item
from driveforge.datasets.webdataset_shards.tar_samples import read_samples
from driveforge.pipelines.generate.generator import load_generator
from driveforge.pipelines.inputs.instruments import InstrumentsLoader
from driveforge.pipelines.inputs.settings import SimulatedData
from driveforge.pipelines.processes.parallel import parallel_map
from driveforge.pipelines.registry.models import BASE
from driveforge.pipelines.studies.validator.baselines.catalog import BASELINES
from driveforge.pipelines.studies.validator.results import OURS, RATE, auroc, baseline_score
from driveforge.pipelines.validate.calibrate import KnownGoodClip, measure_known_good
from driveforge.validation.calibration import Calibration
from driveforge.validation.cross_conformal import calibrate
from driveforge.validation.guarantee import describe_false_reject_rate
from driveforge.validation.instruments import Instruments
from driveforge.validation.measures import measure
from driveforge.validation.records import Measures
from driveforge.validation.verdict import Verdict, judge

FOLDER = Path(__file__).parent / "labeled_clips"
NUM_GOOD = 300
RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True, slots=True)
class LabeledClip:
    """The label of a generated clip: ``severity`` from 0 (clean) to 3 (unusable), and ``what`` is wrong.

    ``group`` is the way it was generated, which the rater's pictures do not show.
    """

    clip_id: str
    group: str
    broken: bool
    severity: int
    what: str


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredLabeledClip:
    """A labeled clip with our measures and the values of the baselines."""

    label: LabeledClip
    measures: Measures
    baselines: Mapping[str, float | None]


def generated_section(seed: int) -> str:
    """The section in Markdown: limits from simulated clips of ``seed`` through the shipped VAE, and the verdicts.

    It takes about three minutes on two cores.
    """
    labels = read_labels()
    items = [sample_item(FOLDER / "clips.tar", label.clip_id) for label in labels]
    measured = parallel_map(_measure, items)
    clips = [
        MeasuredLabeledClip(label=label, measures=measures, baselines=baselines)
        for label, (measures, baselines) in zip(labels, measured, strict=True)
    ]
    return section(clips, fit_limits(seed))


def read_labels(folder: Path = FOLDER) -> list[LabeledClip]:
    """The labels of ``folder/labels.csv``, in its order, with the groups from the metadata of the clips."""
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
    """Limits for clips of the shipped model's size, as `driveforge calibrate` fits them, from simulated clips."""
    good = measure_good_clips(seed, NUM_GOOD)
    return calibrate(good, name="simulated clips through the shipped VAE", false_reject_rate=RATE)


def measure_good_clips(seed: int, count: int, instruments: InstrumentsLoader = Instruments) -> list[Measures]:
    """The measures of ``count`` simulated clips of the shipped model's size, through its VAE and H.264."""
    data = SimulatedData(
        name="simulated",
        num_scenes=count,
        domains=DRIVING_DOMAINS,
        seed=seed,
        height=96,
        width=160,
        frame_rate=10.0,
        num_frames=17,
        stride=17,
    )
    items = [KnownGoodClip(data=data, number=number) for number in range(count)]
    return [measures for _, measures in measure_known_good(items, partial(load_generator, BASE), instruments)]


def _measure(item: Item) -> tuple[Measures, dict[str, float | None]]:
    clip = item.load()
    return measure(clip), {name: baseline(clip).value for name, baseline in BASELINES.items()}


def section(seen: Sequence[MeasuredLabeledClip], calibration: Calibration) -> str:
    """The results of the limits and of the baselines on the labeled clips, in Markdown."""
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
    return f"""{len(seen)} clips of 17 frames at 96 x 160 from an earlier base with its default settings, from the same
base with too much guidance, and from a base whose training was stopped early
(`pipelines/studies/validator/labeled_clips`). One rater labeled {num_broken} of them as broken, from their appearance
only. Limits are from {NUM_GOOD} simulated clips through the shipped VAE; their false-reject rate is
{describe_false_reject_rate(calibration)}. Intervals are 95 % bootstrap intervals over {RESAMPLES} resamples.
"""


def _auroc_rows(seen: Sequence[MeasuredLabeledClip], calibration: Calibration) -> Iterator[str]:
    """How well each method distinguishes broken clips from usable ones."""
    judges: dict[str, Callable[[MeasuredLabeledClip], float]] = {OURS: lambda clip: calibration.score(clip.measures)}
    judges |= {name: partial(_baseline_scores, name) for name in BASELINES}
    broken = [clip.label.broken for clip in seen]
    yield "| method | AUROC, broken against usable | 95 % interval |"
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
    """Percentile bootstrap of the AUROC at 95 %; usable and broken clips are resampled separately (Efron 1979)."""
    values, is_broken = np.array(scores), np.array(broken)
    good, bad = values[~is_broken], values[is_broken]
    # The AUROC is the mean of this matrix (G, B); a resample weights its rows and columns.
    wins = (bad > good[:, None]) + 0.5 * (bad == good[:, None])
    rng = np.random.default_rng(0)
    good_weights, bad_weights = (rng.multinomial(n, np.full(n, 1 / n), RESAMPLES) / n for n in wins.shape)
    resampled = np.einsum("rg,gb,rb->r", good_weights, wins, bad_weights, optimize=True)
    return float(np.quantile(resampled, 0.025)), float(np.quantile(resampled, 0.975))


def _group_rows(seen: Sequence[MeasuredLabeledClip], verdicts: Mapping[str, Verdict]) -> Iterator[str]:
    yield "| group | broken, not accepted | usable, not accepted |"
    yield "| --- | --- | --- |"
    for group in [*dict.fromkeys(clip.label.group for clip in seen), "all"]:
        cells = []
        for broken in (True, False):
            some = [clip for clip in seen if clip.label.broken == broken and group in (clip.label.group, "all")]
            rejections = sum(verdicts[clip.label.clip_id].state != "accepted" for clip in some)
            cells.append(f"{rejections} of {len(some)}" if some else "")
        yield f"| {group} | {cells[0]} | {cells[1]} |"


def _reason_rows(seen: Sequence[MeasuredLabeledClip], verdicts: Mapping[str, Verdict]) -> Iterator[str]:
    """The measures that are reasons for broken clips, and how often each is the only reason."""
    measures_by_clip = [{r.measure for r in verdicts[clip.label.clip_id].reasons} for clip in seen if clip.label.broken]
    counts = Counter(name for names in measures_by_clip for name in names)
    sole_reasons = Counter(name for names in measures_by_clip if len(names) == 1 for name in names)
    yield "| measure among the reasons for broken clips | clips | only reason |"
    yield "| --- | --- | --- |"
    for name, count in counts.most_common():
        yield f"| {name} | {count} | {sole_reasons[name] or ''} |"


def _disagreement_rows(seen: Sequence[MeasuredLabeledClip], verdicts: Mapping[str, Verdict]) -> Iterator[str]:
    """Every clip on which label and gate differ."""
    yield "| clip | group | label (severity) | gate |"
    yield "| --- | --- | --- | --- |"
    for clip in seen:
        verdict, label = verdicts[clip.label.clip_id], clip.label
        if label.broken != (verdict.state != "accepted"):
            text = f"{'broken' if label.broken else 'usable'} ({label.severity}): {label.what}"
            reason = verdict.reasons[0].text if verdict.reasons else "accepted"
            yield f"| {label.clip_id} | {label.group} | {text} | {reason} |"
