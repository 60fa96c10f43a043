"""The data card of an export: content, provenance, validation and loading."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from driveforge.datasets.webdataset_shards.card_limits import SampleLimits, leaks_section, unmeasured_section

LOADING_TEMPLATE = """\
import io, json, av, numpy as np, torch, webdataset as wds

def frames(video):  # H.264 -> (T, H, W, 3) uint8 RGB
    with av.open(io.BytesIO(video)) as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])

def array(data):  # npy -> array
    return np.load(io.BytesIO(data), allow_pickle=False)

def arrays(data):  # npz -> arrays by name
    return dict(array(data))

shards = [shard["name"] for shard in json.load(open("index.json"))["shards"] if shard["split"] == "{split}"]
dataset = wds.WebDataset(shards, shardshuffle=False).map_dict(**{{{decoders}}})
loader = torch.utils.data.DataLoader(dataset, batch_size=None)
"""

CARD_TEMPLATE = """\
# {name}

{summary}

All pixels are synthetic. Every clip was measured against its conditioning (ego pose and 3D boxes) and accepted by a
gate with calibrated limits, or by a reviewer.

| | |
| --- | --- |
| license | {license} |
| generator (digest of the weights) | {model} |
| calibration | {calibration} |
| generated clips | {num_generated} |
| accepted clips | {num_accepted} |
| rejected clips, by reason | {rejected} |
| cameras | {cameras} |

## Content

{counts}

## Leaks

A near-duplicate differs in at most 31 of the 256 bits of a perceptual hash from a recorded frame of the scenes that the
clips were generated from. The recorded first frames that clips continue are not counted.

{leaks}

## What was not measured

{unmeasured}

## Loading

Run this in the folder of this card. It needs only `webdataset`, `torch`, `numpy` and `av`.

```python
{loading}```

Sample keys are clip ids. Each sample has these members:

| member | content |
| --- | --- |
| `json` | `clip_id`, `caption`, `domain`, `split`, `timestamps` (s), `cameras`, `lanes`, `metadata` |
| `<camera>.mp4` | T frames; `cameras` has its `intrinsics` (px) and `camera_to_ego`, (T, 4, 4) |
| `poses.npy` | `ego_to_world`, (T, 4, 4) float64; absent if the clip has no ego pose |
| `tracks.npz` | `ids`, `categories` (N,), `sizes` (N, 3), `box_to_world` (N, T, 4, 4), `present` (N, T) |
| `thumb.jpg` | the middle frame of the first camera |

- Units are meters, seconds and pixels; pixel centers are at integers.
- A pose `a_to_b` maps a-coordinates to b. Camera axes are x right, y down, z forward; ego and box axes are x forward,
  y left, z up.
- `box_to_world` is the pose of the box center; `sizes` are length, width and height along the box's x, y and z. A box
  is valid in frames where `present` is true.
- A world point `p` (4,) projects to `q[:2] / q[2]`, with
  `q = intrinsics @ (inv(ego_to_world[t] @ camera_to_ego[t]) @ p)[:3]`.
- `lanes` is a JSON string: a list of `kind` and `points` (N, 3) in the world frame.
- The last `held_frames` frames, if any, are padding past the end of a recording: exclude them from training.

`index.json` lists size, sha256, number of samples and keys of every shard; `driveforge verify` checks the shards
against it.
"""


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
    """Facts about one sample for the card; ``cameras`` are "name widthxheight"."""

    key: str
    split: str
    domain: str
    seconds: float
    cameras: tuple[str, ...]
    members: frozenset[str]
    limits: SampleLimits

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
    provenance = card.provenance
    return CARD_TEMPLATE.format(
        name=card.name,
        summary=card.summary,
        license=card.license or "not stated",
        model=f"`{provenance.model}`" if provenance.model else "not stated",
        calibration=provenance.calibration or "not stated",
        num_generated=provenance.num_generated or "not stated",
        num_accepted=len(card.samples),
        rejected=", ".join(f"{count} {reason}" for reason, count in sorted(provenance.rejected.items()))
        or "not stated",
        cameras=", ".join(sorted({camera for sample in card.samples for camera in sample.cameras})),
        counts=_counts(card, shards),
        leaks=leaks_section([sample.limits for sample in card.samples]),
        unmeasured=unmeasured_section([sample.limits for sample in card.samples]),
        loading=LOADING_TEMPLATE.format(split=shards[0]["split"], decoders=_decoders(card.samples)),
    )


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
