"""The data card of an export: content, provenance, validation and loading."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from driveforge.datasets.disclosure import DIGITAL_SOURCE_TYPE
from driveforge.datasets.webdataset_shards import card_text
from driveforge.datasets.webdataset_shards.card_limits import SampleLimits, leaks_section, unmeasured_section

# The split of clips without a split.
NO_SPLIT = "all"


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """Origin of the clips: digest of the model, name of the calibration, and numbers of rejected clips by reason."""

    model: str = ""
    calibration: str = ""
    num_generated: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleSummary:
    """Facts about one sample for the card and its place; ``cameras`` are "name widthxheight"."""

    key: str
    split: str
    domain: str
    seconds: float
    cameras: tuple[str, ...]
    members: frozenset[str]
    limits: SampleLimits
    has_objects: bool = True

    @classmethod
    def from_json(cls, key: str, record: Mapping[str, Any], members: Iterable[str]) -> "SampleSummary":
        """The summary of a sample with this ``json`` member and these ``members``."""
        times, rate = record["timestamps"], record["frame_rate"]
        return cls(
            key=key,
            split=record["split"] or NO_SPLIT,
            domain=record["domain"],
            seconds=float(times[-1] - times[0]) + (1 / rate if rate else 0.0),
            cameras=tuple(f"{camera['name']} {camera['width']}x{camera['height']}" for camera in record["cameras"]),
            members=frozenset(members),
            has_objects=record.get("num_objects") != 0,
            limits=SampleLimits.from_metadata(record.get("metadata", {})),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class DataCard:
    """Content and provenance of an export."""

    name: str
    license: str
    samples: Sequence[SampleSummary] = field(repr=False)
    provenance: Provenance

    @property
    def summary(self) -> str:
        seconds = sum(sample.seconds for sample in self.samples)
        domains = ", ".join(sorted({sample.domain for sample in self.samples}))
        return (
            f"{len(self.samples)} synthetic clips ({seconds:.1f} s, {domains}) with calibration, ego pose and "
            f"3D boxes, as WebDataset shards."
        )


def data_card(card: DataCard, shards: Sequence[Mapping[str, Any]]) -> str:
    """``README.md`` of an export, in Markdown; its Python example runs unchanged."""
    loading = card_text.LOADING.format(split=shards[0]["split"], decoders=_decoders(card.samples))
    sections = {
        "": f"{card.summary}\n\n{card_text.INTRODUCTION}\n{_facts(card)}",
        "Content": _counts(card, shards),
        "Leaks": f"{card_text.LEAKS}\n{leaks_section([sample.limits for sample in card.samples])}",
        "What was not measured": unmeasured_section([sample.limits for sample in card.samples]),
        "Disclosure": card_text.DISCLOSURE.format(source_type=DIGITAL_SOURCE_TYPE),
        "Loading": "Run this in the folder of this card. It needs only `webdataset`, `torch`, `numpy` and `av`.\n\n"
        f"```python\n{loading}```\n\n{card_text.MEMBERS}",
    }
    titled = [f"## {title}\n\n{text}" if title else text for title, text in sections.items()]
    return f"# {card.name}\n\n" + "\n\n".join(text.rstrip("\n") for text in titled) + "\n"


def _facts(card: DataCard) -> str:
    provenance = card.provenance
    rejected = ", ".join(f"{count} {reason}" for reason, count in sorted(provenance.rejected.items()))
    facts = {
        "license": card.license,
        "generator (digest of the weights)": f"`{provenance.model}`" if provenance.model else "",
        "calibration": provenance.calibration,
        "generated clips": provenance.num_generated or "",
        "accepted clips": len(card.samples),
        "rejected clips, by reason": rejected,
        "cameras": ", ".join(sorted({camera for sample in card.samples for camera in sample.cameras})),
        "derived from the splits": ", ".join(sorted({sample.split for sample in card.samples})),
    }
    rows = [f"| {name} | {'not stated' if value == '' else value} |" for name, value in facts.items()]
    return "\n".join(["| | |", "| --- | --- |", *rows])


def _counts(card: DataCard, shards: Sequence[Mapping[str, Any]]) -> str:
    clips = Counter((sample.split, sample.domain) for sample in card.samples)
    num_shards = Counter(shard["split"] for shard in shards)
    rows = [
        f"| {split} | {domain} | {count} | {num_shards[split]} |" for (split, domain), count in sorted(clips.items())
    ]
    return "\n".join(["| split | domain | clips | shards in the split |", "| --- | --- | --- | --- |", *rows])


def _decoders(samples: Sequence[SampleSummary]) -> str:
    """Decoders of the members that all samples have, as the entries of a Python dict."""
    names = {"json": "json.loads", "mp4": "frames", "npy": "array", "npz": "arrays"}
    common = frozenset.intersection(*(sample.members for sample in samples))
    decoded = [(member, names.get(member.rpartition(".")[2])) for member in sorted(common)]
    return ", ".join(f'"{member}": {decoder}' for member, decoder in decoded if decoder)
