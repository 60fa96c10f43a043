"""Real output of world models, labelled by eye, as the gate and its peers see it: a section of the validator study.

The clips, how each was made and who labelled them by what: ``labeled_clips``.
"""

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from driveforge.datasets.webdataset_shards.format import scene_from_members
from driveforge.datasets.webdataset_shards.tar_samples import read_samples
from driveforge.pipelines.generate.command import load_generator
from driveforge.pipelines.inputs.items import TarItem
from driveforge.pipelines.inputs.settings import SimulatedData
from driveforge.pipelines.processes.parallel import on_all_cores
from driveforge.pipelines.registry.models import BASE
from driveforge.pipelines.studies.validator.baselines.catalogue import PEERS
from driveforge.pipelines.studies.validator.results import OURS, RATE, auroc, peer_score
from driveforge.pipelines.validate.calibrate import FILL_DOMAINS, KnownGood, measure_known_good
from driveforge.validation.calibration import Calibration
from driveforge.validation.cross_conformal import calibrate
from driveforge.validation.guarantee import refused_words
from driveforge.validation.measures import measure
from driveforge.validation.records import Measures
from driveforge.validation.verdict import Verdict, judge

FOLDER = Path(__file__).parent / "labeled_clips"
NUM_GOOD = 300
RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True, slots=True)
class Labelled:
    """A generated clip as its rater saw it: ``severity`` from 0 (clean) to 3 (worthless), ``what`` is wrong in words.

    ``group`` says how it was made, which the pictures that it was labelled by do not say.
    """

    clip_id: str
    group: str
    broken: bool
    severity: int
    what: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """A labelled clip as it was measured, by us and by peers."""

    label: Labelled
    measures: Measures
    peers: Mapping[str, float | None]


def generated_section(seed: int) -> str:
    """The section in Markdown: limits from simulated clips of ``seed`` through the shipped codec, then the verdicts.

    Some three minutes on two cores.
    """
    labels = read_labels()
    items = [TarItem(tar=FOLDER / "clips.tar", key=label.clip_id) for label in labels]
    measured = on_all_cores(_measure, items)
    seen = [Seen(label=label, measures=m, peers=p) for label, (m, p) in zip(labels, measured, strict=True)]
    return section(seen, limits(seed))


def read_labels(folder: Path = FOLDER) -> list[Labelled]:
    """The labels of ``folder/labels.csv``, in its order, with the groups that the clips themselves name."""
    groups = {key: scene_from_members(members, key)[1]["group"] for key, members in read_samples(folder / "clips.tar")}
    with (folder / "labels.csv").open(newline="") as file:
        return [
            Labelled(
                clip_id=row["clip"],
                group=groups[row["clip"]],
                broken=row["label"] == "broken",
                severity=int(row["severity"]),
                what=row["what"],
            )
            for row in csv.DictReader(file)
        ]


def limits(seed: int) -> Calibration:
    """Limits for clips of the shipped model's size, as `driveforge calibrate` makes them: no clip here is generated."""
    data = SimulatedData(
        name="simulated",
        num_scenes=NUM_GOOD,
        domains=FILL_DOMAINS,
        seed=seed,
        height=96,
        width=160,
        frame_rate=10.0,
        num_frames=17,
        stride=17,
    )
    items = [KnownGood(data=data, number=number) for number in range(NUM_GOOD)]
    measured = [measures for _, measures in measure_known_good(items, partial(load_generator, BASE))]
    return calibrate(measured, name="simulated clips through the shipped codec", false_reject_rate=RATE)


def _measure(item: TarItem) -> tuple[Measures, dict[str, float | None]]:
    clip = item.load()
    return measure(clip), {name: peer(clip).value for name, peer in PEERS.items()}


def section(seen: Sequence[Seen], calibration: Calibration) -> str:
    """What the limits and the peers make of the labelled clips, in Markdown."""
    verdicts = {one.label.clip_id: judge(one.measures, calibration) for one in seen}
    return "\n".join(
        [
            _head(seen, calibration),
            *_aurocs(seen, calibration),
            "",
            *_groups(seen, verdicts),
            "",
            *_spoke(seen, verdicts),
            "",
            *_mistakes(seen, verdicts),
            "",
        ]
    )


def _head(seen: Sequence[Seen], calibration: Calibration) -> str:
    num_broken = sum(one.label.broken for one in seen)
    return f"""{len(seen)} clips of 17 frames at 96 x 160: an earlier base as it was used, the same over-guided,
and one whose training was stopped early (`pipelines/studies/validator/labeled_clips`). By looks alone, one rater called
{num_broken} broken. Limits are from {NUM_GOOD} simulated clips through the shipped codec; of good ones they refuse
{refused_words(calibration)}. Intervals hold 95 % of {RESAMPLES} resamplings of the clips.
"""


def _aurocs(seen: Sequence[Seen], calibration: Calibration) -> Iterator[str]:
    """How well each judge tells broken clips from usable ones."""
    judges: dict[str, Callable[[Seen], float]] = {OURS: lambda one: calibration.score(one.measures)}
    judges |= {name: partial(_peer, name) for name in PEERS}
    broken = [one.label.broken for one in seen]
    yield "| judge | AUROC, broken against usable | 95 % interval |"
    yield "| --- | --- | --- |"
    for name, score in judges.items():
        scores = [score(one) for one in seen]
        low, high = interval(scores, broken)
        words = name.removeprefix("peer_").replace("_", " ")
        yield f"| {words} | {_auroc(scores, broken):.3f} | {low:.2f} to {high:.2f} |"


def _peer(name: str, one: Seen) -> float:
    return peer_score(one.peers.get(name))


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


def _groups(seen: Sequence[Seen], verdicts: Mapping[str, Verdict]) -> Iterator[str]:
    yield "| how it was made | broken, not accepted | usable, not accepted |"
    yield "| --- | --- | --- |"
    for group in [*dict.fromkeys(one.label.group for one in seen), "all"]:
        cells = []
        for broken in (True, False):
            some = [one for one in seen if one.label.broken == broken and group in (one.label.group, "all")]
            refused = sum(verdicts[one.label.clip_id].state != "accepted" for one in some)
            cells.append(f"{refused} of {len(some)}" if some else "")
        yield f"| {group} | {cells[0]} | {cells[1]} |"


def _spoke(seen: Sequence[Seen], verdicts: Mapping[str, Verdict]) -> Iterator[str]:
    """Which measures spoke against broken clips, and which of them alone."""
    spoken = [{r.measure for r in verdicts[one.label.clip_id].reasons} for one in seen if one.label.broken]
    counts = Counter(name for names in spoken for name in names)
    alone = Counter(name for names in spoken if len(names) == 1 for name in names)
    yield "| measure that spoke against broken clips | clips | alone |"
    yield "| --- | --- | --- |"
    for name, count in counts.most_common():
        yield f"| {name} | {count} | {alone[name] or ''} |"


def _mistakes(seen: Sequence[Seen], verdicts: Mapping[str, Verdict]) -> Iterator[str]:
    """Every clip on which eye and gate differ."""
    yield "| clip | how it was made | by eye (severity) | by the gate |"
    yield "| --- | --- | --- | --- |"
    for one in seen:
        verdict, label = verdicts[one.label.clip_id], one.label
        if label.broken != (verdict.state != "accepted"):
            by_eye = f"{'broken' if label.broken else 'usable'} ({label.severity}): {label.what}"
            reason = verdict.reasons[0].text if verdict.reasons else "accepted"
            yield f"| {label.clip_id} | {label.group} | {by_eye} | {reason} |"
