"""The data card: what an export holds, where it came from, how it was judged, and how to load it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

LOADING_TEMPLATE = """\
import io, json, av, numpy as np, torch, webdataset as wds

def frames(video):  # H.264 -> (T, H, W, 3) uint8 RGB
    with av.open(io.BytesIO(video)) as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])

def array(data):  # npy; nothing is ever unpickled
    return np.load(io.BytesIO(data), allow_pickle=False)

def arrays(data):  # npz: several arrays by name
    return dict(array(data))

shards = [shard["name"] for shard in json.load(open("index.json"))["shards"] if shard["split"] == "{split}"]
dataset = wds.WebDataset(shards, shardshuffle=False).map_dict(**{{{decoders}}})
loader = torch.utils.data.DataLoader(dataset, batch_size=None)
"""

CARD_TEMPLATE = """\
# {name}

{summary}

Every clip was measured against the pose and the boxes that it was asked to show, and accepted by a gate; what could not
be measured was not let through. The pixels are synthetic.

| | |
| --- | --- |
| license | {license} |
| generator (digest of the weights) | {model} |
| calibration of the gate | {calibration} |
| generated, accepted, rejected | {outcome} |
| cameras | {cameras} |

## What is inside

{counts}

## Loading

From the folder of this card, with stock `webdataset` and nothing of ours:

```python
{loading}```

Keys are clip ids. A sample has these members:

| member | content |
| --- | --- |
| `json` | `clip_id`, `caption`, `domain`, `split`, `timestamps` (s), `cameras`, `lanes`, `metadata` |
| `<camera>.mp4` | T frames; `cameras` has its `intrinsics` (px) and `camera_to_ego`, (T, 4, 4) |
| `poses.npy` | `ego_to_world`, (T, 4, 4) float64; absent where there is no pose |
| `tracks.npz` | `ids`, `categories` (N,), `sizes` (N, 3), `box_to_world` (N, T, 4, 4), `present` (N, T) |
| `thumb.jpg` | the middle frame of the first camera |

Meters and seconds; `a_to_b` maps a-coordinates to b. Camera axes are x right, y down, z forward; the ego's are
x forward, y left, z up; pixel centers are integers. Boxes are given by their center and by length, width and height
along their x, y and z. A world point `p` is seen at `intrinsics @ (inv(ego_to_world[t] @ camera_to_ego[t]) @ p)[:3]`,
divided by its last number. `lanes` is a text that is JSON itself: the `kind` and `points` (N, 3) of each. The last
`held_frames` frames, where a clip has any, are continued past the end of its recording: do not learn from them.

`index.json` holds size, sha256, count and keys of every shard; `driveforge verify` checks every byte against it.
"""


# The split of clips that have none.
NO_SPLIT = "all"


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """Where the clips came from: digest of the model, name of the calibration, and what was rejected, by reason."""

    model: str = ""
    calibration: str = ""
    num_generated: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleSummary:
    """What the card counts of one sample; ``cameras`` are "name widthxheight"."""

    key: str
    split: str
    domain: str
    seconds: float
    cameras: tuple[str, ...]
    members: frozenset[str]

    @classmethod
    def from_json(cls, key: str, record: Mapping[str, Any], members: Iterable[str]) -> "SampleSummary":
        """From the key, the ``json`` member and the names of all members."""
        times, rate = record["timestamps"], record["frame_rate"]
        return cls(
            key=key,
            split=record["split"] or NO_SPLIT,
            domain=record["domain"],
            seconds=float(times[-1] - times[0]) + (1 / rate if rate else 0.0),
            cameras=tuple(f"{camera['name']} {camera['width']}x{camera['height']}" for camera in record["cameras"]),
            members=frozenset(members),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class DataCard:
    """The facts of an export."""

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
    """``README.md`` of an export, in Markdown; its Python runs as it stands."""
    provenance = card.provenance
    return CARD_TEMPLATE.format(
        name=card.name,
        summary=card.summary,
        license=card.license or "not stated",
        model=f"`{provenance.model}`" if provenance.model else "not stated",
        calibration=provenance.calibration or "not stated",
        outcome=_outcome(card),
        cameras=", ".join(sorted({camera for sample in card.samples for camera in sample.cameras})),
        counts=_counts(card, shards),
        loading=LOADING_TEMPLATE.format(split=shards[0]["split"], decoders=_decoders(card.samples)),
    )


def _outcome(card: DataCard) -> str:
    provenance = card.provenance
    reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(provenance.rejected.items()))
    return f"{provenance.num_generated or 'not stated'}, {len(card.samples)}, {reasons or 'not stated'}"


def _counts(card: DataCard, shards: Sequence[Mapping[str, Any]]) -> str:
    clips = Counter((sample.split, sample.domain) for sample in card.samples)
    num_shards = Counter(shard["split"] for shard in shards)
    rows = [
        f"| {split} | {domain} | {count} | {num_shards[split]} |" for (split, domain), count in sorted(clips.items())
    ]
    return "\n".join(["| split | domain | clips | shards of the split |", "| --- | --- | --- | --- |", *rows])


def _decoders(samples: Sequence[SampleSummary]) -> str:
    """What decodes each member that every sample has, as the entries of a Python dict."""
    names = {"json": "json.loads", "mp4": "frames", "npy": "array", "npz": "arrays"}
    common = frozenset.intersection(*(sample.members for sample in samples))
    decoded = [(member, names.get(member.rpartition(".")[2])) for member in sorted(common)]
    return ", ".join(f'"{member}": {decoder}' for member, decoder in decoded if decoder)
