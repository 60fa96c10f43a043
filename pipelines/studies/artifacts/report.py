"""The evaluation of the artifact network, in Markdown: held-out clips, labeled generated clips."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from driveforge.datasets.geometry import Array
from driveforge.datasets.webdataset_shards.source import sample_item
from driveforge.pipelines.processes.parallel import parallel_map
from driveforge.pipelines.studies.artifacts.examples import Examples
from driveforge.pipelines.studies.artifacts.settings import ArtifactStudy
from driveforge.pipelines.studies.artifacts.training import logits_of
from driveforge.pipelines.studies.validator.generated import FOLDER, interval, measure_good_clips, read_labels
from driveforge.pipelines.studies.validator.results import auroc
from driveforge.validation.cross_conformal import calibrate
from driveforge.validation.instruments import Instruments
from driveforge.validation.learned.measures import NAME
from driveforge.validation.learned.network import ArtifactNetwork
from driveforge.validation.measures import measure
from driveforge.validation.records import Measures

RATE, NUM_GOOD = 0.05, 150
# The damage of crops that count as intact, and as damaged, in the AUROC.
INTACT, DAMAGED = 0.1, 0.5


def report(network: ArtifactNetwork, num_seen: int, held_out: Examples, settings: ArtifactStudy) -> str:
    """The page: what the crops are, how well damage is found, and the labeled clips."""
    return "\n".join(
        [
            _HEAD.format(seen=num_seen, held_out=len(held_out), intact=INTACT, damaged=DAMAGED),
            *_held_out_rows(held_out, logits_of(network, held_out)),
            "",
            _LABELED_HEAD,
            *_labeled_rows(settings),
            "",
        ]
    )


def _held_out_rows(examples: Examples, logits: Array) -> Iterator[str]:
    is_object = examples.context[:, 0] > 0
    for name, mask in (("objects", is_object), ("regions", ~is_object)):
        intact, bad = mask & (examples.damage <= INTACT), mask & (examples.damage >= DAMAGED)
        value = auroc(logits[intact].tolist(), logits[bad].tolist())
        yield f"| {name} | {intact.sum()} | {bad.sum()} | {value:.3f} |"


def _labeled_rows(settings: ArtifactStudy) -> Iterator[str]:
    """AUROC, broken against usable, of single measures and of the gate's score with and without the learned one."""
    labels = read_labels("design")
    instruments = Instruments(artifact_weights=settings.out)
    clips = list(parallel_map(partial(_measure_labeled, instruments=instruments), [label.clip_id for label in labels]))
    broken = [label.broken for label in labels]
    good = measure_good_clips(settings.seed + 1, NUM_GOOD, partial(Instruments, artifact_weights=settings.out))
    scores = {name: [_value(clip, name) for clip in clips] for name in (NAME, "object_blockiness")}
    scores["gate without it"] = _gate_scores([_without(m) for m in good], [_without(m) for m in clips])
    scores["gate with it"] = _gate_scores(good, clips)
    for name, values in scores.items():
        low, high = interval(values, broken)
        usable, bad = ([v for v, b in zip(values, broken, strict=True) if b == which] for which in (False, True))
        yield f"| {name} | {auroc(usable, bad):.3f} | {low:.2f} to {high:.2f} |"


def _measure_labeled(clip_id: str, instruments: Instruments) -> Measures:
    return measure(sample_item(FOLDER / "design.tar", clip_id).load(), instruments)


def _gate_scores(good: Sequence[Measures], clips: Sequence[Measures]) -> list[float]:
    limits = calibrate(good, name="simulated clips through the shipped VAE", false_reject_rate=RATE)
    return [limits.score(clip) for clip in clips]


def _without(measures: Measures) -> Measures:
    return replace(measures, values=tuple(m for m in measures.values if m.name != NAME))


def _value(measures: Measures, name: str) -> float:
    """A clip without such an object has no sign of a failure."""
    value = measures[name].value
    return 0.0 if value is None else value


_HEAD = """# Artifact network

Written by `python -m driveforge.pipelines.studies.artifacts`, which trains the network of `object_artifacts` on {seen}
crops of simulated clips.

## Held-out simulated clips

{held_out} crops of clips that were not trained on, as recorded, through the VAE, and generated. AUROC of crops with a
damage of at least {damaged:g} against those of at most {intact:g}.

| crops of | intact | damaged | AUROC |
| --- | --- | --- | --- |"""

_LABELED_HEAD = """## Labeled generated clips

The design half of the labeled clips (`pipelines/studies/validator/labeled_clips`). AUROC, broken against others, with
95 % bootstrap intervals. The gate is calibrated on 150 simulated clips through the shipped VAE.

| method | AUROC | 95 % interval |
| --- | --- | --- |"""
