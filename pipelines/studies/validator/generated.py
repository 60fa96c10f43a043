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
from driveforge.pipelines.studies.validator.results import OURS, auroc, baseline_score
from driveforge.pipelines.validate.calibrate import KnownGoodClip, measure_known_good
from driveforge.validation.calibration import Calibration
from driveforge.validation.cross_conformal import calibrate
from driveforge.validation.guarantee import describe_false_reject_rate
from driveforge.validation.instruments import Instruments
from driveforge.validation.measures import measure
from driveforge.validation.proportion import wilson_interval
from driveforge.validation.records import Measures
from driveforge.validation.verdict import Verdict, judge

FOLDER = Path(__file__).parent / "labeled_clips"
HALVES = ("design", "sealed")
RATES = (0.05, 0.02)
NUM_GOOD = 300
RESAMPLES = 2000
BROKEN = "broken"


@dataclass(frozen=True, kw_only=True, slots=True)
class LabeledClip:
    """The label of a generated clip: ``severity`` from 0 (fine) to 3 (unusable), and ``what`` is wrong.

    ``group`` is the way it was generated, which the raters' pictures do not show. ``agreed``: both raters call it
    broken, or neither does.
    """

    clip_id: str
    group: str
    broken: bool
    severity: int
    what: str
    agreed: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredLabeledClip:
    """A labeled clip with our measures and the values of the baselines."""

    label: LabeledClip
    measures: Measures
    baselines: Mapping[str, float | None]


def generated_section(seed: int) -> str:
    """The section in Markdown: limits from simulated clips of ``seed`` through the shipped VAE, and the verdicts."""
    calibrations = fit_limits(measure_good_clips(seed, NUM_GOOD))
    return "\n".join([_INTRO, *(section(half, measure_labeled_clips(half), calibrations) for half in HALVES)])


def fit_limits(good: Sequence[Measures]) -> list[Calibration]:
    """Limits at each of the ``RATES``, as `driveforge calibrate` fits them."""
    return [calibrate(good, name="simulated clips through the shipped VAE", false_reject_rate=rate) for rate in RATES]


def measure_labeled_clips(half: str) -> list[MeasuredLabeledClip]:
    labels = read_labels(half)
    measured = parallel_map(_measure, [sample_item(FOLDER / f"{half}.tar", label.clip_id) for label in labels])
    return [
        MeasuredLabeledClip(label=label, measures=measures, baselines=baselines)
        for label, (measures, baselines) in zip(labels, measured, strict=True)
    ]


def read_labels(half: str) -> list[LabeledClip]:
    """The labels of one of the ``HALVES``, in the order of the clips, with the groups from their metadata."""
    samples = read_samples(FOLDER / f"{half}.tar")
    groups = {key: scene_from_members(members, key)[1]["group"] for key, members in samples}
    with (FOLDER / f"labels-{half}.csv").open(newline="") as file:
        return [
            LabeledClip(
                clip_id=row["clip"],
                group=groups[row["clip"]],
                broken=(broken := row["label"] == BROKEN),
                severity=int(row["severity"]),
                what=row["what"],
                agreed=(row["second_rater"] == BROKEN) == broken,
            )
            for row in csv.DictReader(file)
        ]


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


def section(half: str, seen: Sequence[MeasuredLabeledClip], calibrations: Sequence[Calibration]) -> str:
    """The results of the limits at each of the ``RATES``, and of the baselines, on one half of the labeled clips."""
    verdicts = {clip.label.clip_id: judge(clip.measures, calibrations[0]) for clip in seen}
    num_broken, num_agreed = (sum(getattr(c.label, name) for c in seen) for name in ("broken", "agreed"))
    return "\n".join(
        [
            f"### The {half} half\n",
            f"{len(seen)} clips, of which {num_broken} are labeled broken; the raters agree on {num_agreed}.\n",
            *_auroc_rows(seen, calibrations[0]),
            "",
            *_accepted_rows(seen, calibrations),
            "",
            *_group_rows(seen, verdicts),
            "",
            *_reason_rows(seen, verdicts),
            "",
        ]
    )


def _auroc_rows(seen: Sequence[MeasuredLabeledClip], calibration: Calibration) -> Iterator[str]:
    """How well each method distinguishes broken clips from the others."""
    methods: dict[str, Callable[[MeasuredLabeledClip], float]] = {OURS: lambda clip: calibration.score(clip.measures)}
    methods |= {name: partial(_baseline_scores, name) for name in BASELINES}
    agreed = [clip for clip in seen if clip.label.agreed]
    yield f"| method | AUROC, broken against others | interval | where the raters agree ({len(agreed)}) | interval |"
    yield "| --- | --- | --- | --- | --- |"
    for name, score in methods.items():
        cells = []
        for clips in (seen, agreed):
            scores, broken = [score(clip) for clip in clips], [clip.label.broken for clip in clips]
            low, high = interval(scores, broken)
            cells += [f"{_auroc(scores, broken):.3f}", f"{low:.2f} to {high:.2f}"]
        words = name.removeprefix("baseline_").replace("_", " ")
        yield f"| {words} | {' | '.join(cells)} |"


def _accepted_rows(seen: Sequence[MeasuredLabeledClip], calibrations: Sequence[Calibration]) -> Iterator[str]:
    """Of the accepted clips, the share that is broken; and the others that are not accepted."""
    yield "| false-reject rate | accepted | of these broken | 95 % interval | not broken, but not accepted |"
    yield "| --- | --- | --- | --- | --- |"
    for calibration in calibrations:
        accepted = [clip for clip in seen if judge(clip.measures, calibration).state == "accepted"]
        broken, others = sum(c.label.broken for c in accepted), sum(not c.label.broken for c in seen)
        low, high = wilson_interval(broken, len(accepted))
        lost = others - (len(accepted) - broken)
        rate = describe_false_reject_rate(calibration)
        yield f"| {rate} | {len(accepted)} | {broken} | {low:.0%} to {high:.0%} | {lost} of {others} |"


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
    yield "| group | broken, not accepted | others, not accepted |"
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


_INTRO = f"""Clips of 17 frames (a few of 41) at 96 x 160 from two bases with the default sampler, with bad settings,
without a first frame, and continued (`pipelines/studies/validator/labeled_clips`, where the standard and the agreement
of the raters are). Measures were designed on the design half only. Limits are from {NUM_GOOD} simulated clips through
the shipped VAE. The AUROC, the groups and the reasons are of limits at {RATES[0]:.0%}. Intervals of the AUROC are 95 %
bootstrap intervals over {RESAMPLES} resamples, those of shares are Wilson's.
"""
