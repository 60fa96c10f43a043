"""Sections of the data card on what accepted clips may leak, and on what the gate could not measure in them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_SHOWN_MEASURES = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleLimits:
    """Of one clip: how similar it is to recordings, whether it may be trained on, and its unmeasured measures.

    ``near_duplicate_share`` is of its frames, and None if no frame was compared. ``unmeasured`` are pairs of a measure
    and the reason why it has no value.
    """

    near_duplicate_share: float | None = None
    from_evaluation_split: bool = False
    unmeasured: tuple[tuple[str, str], ...] = ()

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> "SampleLimits":
        """The limits of a sample with this ``metadata``."""
        found = metadata.get("near_duplicates", {})
        values = metadata.get("measures", {}).get("values", ())
        return cls(
            near_duplicate_share=float(found["share"]) if found.get("compared") else None,
            from_evaluation_split=bool(metadata.get("from_evaluation_split", False)),
            unmeasured=tuple((value["name"], value["reason"]) for value in values if value["value"] is None),
        )


def leaks_section(samples: Sequence[SampleLimits]) -> str:
    """In numbers: near-duplicates of recorded frames, and clips of evaluation splits."""
    shares = [sample.near_duplicate_share for sample in samples if sample.near_duplicate_share is not None]
    held_out = sum(sample.from_evaluation_split for sample in samples)
    similar = sum(share > 0 for share in shares)
    rows = [
        f"| compared with recorded frames | {len(shares)} of {len(samples)} |",
        f"| with a near-duplicate of a recorded frame | {similar} of {len(shares)} |",
        f"| near-duplicates among the generated frames, mean | {_percent(shares)} |",
        f"| from scenes of an evaluation split | {held_out} of {len(samples)} |",
    ]
    return "\n".join(["| clips | |", "| --- | --- |", *rows])


def unmeasured_section(samples: Sequence[SampleLimits]) -> str:
    """In numbers: in how many clips a measure had no value, by reason; the gate accepts such clips by the others."""
    clips: defaultdict[str, int] = defaultdict(int)
    measures: defaultdict[str, set[str]] = defaultdict(set)
    for sample in samples:
        for reason in {reason for _, reason in sample.unmeasured}:
            clips[reason] += 1
        for measure, reason in sample.unmeasured:
            measures[reason].add(measure)
    rows = [
        f"| {reason} | {count} of {len(samples)} | {_few(measures[reason])} |"
        for reason, count in sorted(clips.items(), key=lambda item: (-item[1], item[0]))
    ]
    if not rows:
        return "Every measure had a value in every clip."
    return "\n".join(["| reason | clips | measures without a value |", "| --- | --- | --- |", *rows])


def _percent(shares: Sequence[float]) -> str:
    return f"{100 * sum(shares) / len(shares):.1f} %" if shares else "not compared"


def _few(names: set[str]) -> str:
    shown = sorted(names)[:_SHOWN_MEASURES]
    return ", ".join(f"`{name}`" for name in shown) + (
        f" and {len(names) - len(shown)} more" * (len(names) > len(shown))
    )
