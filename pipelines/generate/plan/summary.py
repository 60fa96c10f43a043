"""What is in a plan, counted while it is made, and kept beside it."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from driveforge.datasets.files.atomic import write_atomic
from driveforge.datasets.files.json_record import read_record
from driveforge.datasets.scene import Scene
from driveforge.pipelines.generate.plan.planner import EditedScene
from driveforge.pipelines.generate.plan.screening import Screened
from driveforge.pipelines.generate.plan.traits import BINS, bin_label, traits_of
from driveforge.pipelines.generate.requests import PlannedRequest, canonical_json
from driveforge.pipelines.generate.settings import GenerateSettings
from driveforge.pipelines.inputs.sources import HELD_OUT_SPLITS

SUMMARY_FILE = "plan-summary.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanSummary:
    """``plan`` is the sha256 of plan.jsonl, and ``inputs`` that of what it was made from.

    ``edits`` counts clips by edit and split; ``traits`` counts clips and scenes by the bins of each trait. ``examples``
    has the recorded clip and the stored scene of the first requests of every edit. ``duplicates`` and ``leaks`` are the
    scenes that screening left out; ``num_compared`` of ``num_held_out`` scenes of evaluation splits were read for it.
    """

    plan: str
    inputs: str
    num_clips: int
    num_units: int
    num_scenes: int
    num_available: int
    num_stored_scenes: int
    num_first_frames: int
    captions: tuple[str, ...]
    edits: dict[str, dict[str, int]]
    traits: dict[str, dict[str, tuple[int, int]]]
    examples: dict[str, tuple[tuple[str, str], ...]]
    duplicates: tuple[str, ...]
    leaks: tuple[str, ...]
    num_compared: int
    num_held_out: int

    @property
    def splits(self) -> dict[str, int]:
        """Clips by the split of their scene."""
        totals: Counter[str] = Counter()
        for counts in self.edits.values():
            totals.update(counts)
        return dict(sorted(totals.items()))


# Scenes of which the picture of a plan may show the path, for every edit.
_NUM_EXAMPLES = 6


@dataclass(kw_only=True, slots=True)
class Tally:
    """Counts the requests of a plan; its size depends on the scenes and edits, not on the requests."""

    scenes: dict[str, Scene]
    edits: dict[str, Counter[str]] = field(default_factory=dict)
    clips_of: Counter[str] = field(default_factory=Counter)
    captions: set[str] = field(default_factory=set)
    stored: set[str] = field(default_factory=set)
    first_frames: set[str] = field(default_factory=set)
    examples: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, planned: PlannedRequest, edited: EditedScene) -> PlannedRequest:
        self.edits.setdefault(edited.edit, Counter())[edited.split] += 1
        self.clips_of[edited.recorded] += 1
        self.captions.add(edited.caption)
        self.stored.add(edited.name)
        if edited.first_frames:
            self.first_frames.add(edited.first_frames)
        shown = self.examples.setdefault(edited.edit, {})
        if len(shown) < _NUM_EXAMPLES:
            shown.setdefault(edited.recorded, edited.name)
        return planned

    def summarize(self, plan: str, inputs: str, num_units: int, screened: Screened) -> PlanSummary:
        return PlanSummary(
            plan=plan,
            inputs=inputs,
            num_clips=self.clips_of.total(),
            num_units=num_units,
            num_scenes=len(self.clips_of),
            num_available=len(self.scenes),
            num_stored_scenes=len(self.stored),
            num_first_frames=len(self.first_frames),
            captions=tuple(sorted(self.captions)),
            edits={edit: dict(sorted(counts.items())) for edit, counts in self.edits.items()},
            traits=self._count_traits(),
            examples={edit: tuple(shown.items()) for edit, shown in self.examples.items()},
            duplicates=tuple(screened.duplicates),
            leaks=tuple(screened.leaks),
            num_compared=screened.num_compared,
            num_held_out=screened.num_held_out,
        )

    def _count_traits(self) -> dict[str, dict[str, tuple[int, int]]]:
        """Clips and scenes in every bin of every trait of the recorded scenes."""
        traits = {clip_id: traits_of(self.scenes[clip_id]) for clip_id in self.clips_of}
        counted: dict[str, dict[str, tuple[int, int]]] = {}
        for trait, edges in BINS.items():
            bins = {clip_id: found.bin_of(trait) for clip_id, found in traits.items()}
            counted[trait] = {
                bin_label(trait, number): (
                    sum(self.clips_of[clip_id] for clip_id, found in bins.items() if found == number),
                    sum(found == number for found in bins.values()),
                )
                for number in range(-1, len(edges) + 1)
                if number >= 0 or -1 in bins.values()
            }
        return counted


def describe_sources(summary: PlanSummary) -> Iterator[str]:
    """Which scenes and splits the clips derive from, and which scenes are left out."""
    names = ", ".join(split or "none" for split in summary.splits)
    yield f"scenes: {summary.num_scenes} used of {summary.num_available}; split of the clips: {names}"
    held_out = sum(count for split, count in summary.splits.items() if split in HELD_OUT_SPLITS)
    if held_out:
        yield f"{held_out} clips derive from an evaluation split; every sample of them is marked so"
    for problem, left_out in (
        ("near-duplicates of other scenes", summary.duplicates),
        ("scenes with frames of an evaluation split", summary.leaks),
    ):
        if left_out:
            yield f"left out: {len(left_out)} {problem}, for example {left_out[0]}"
    if summary.num_compared:
        yield f"compared with {summary.num_compared} of {summary.num_held_out} scenes of evaluation splits"


def digest_inputs(scenes: Sequence[Scene], chosen: Sequence[Scene], settings: GenerateSettings, model: str) -> str:
    """A hash of what a plan is made from: the settings, the model, and the identity and ego path of every scene."""
    digest = hashlib.sha256(canonical_json({"settings": asdict(settings), "model": model, "chosen": len(chosen)}))
    for scene in scenes:
        digest.update(canonical_json([scene.clip_id, scene.split, scene.source, scene.caption, len(scene.tracks)]))
        digest.update(scene.timestamps.tobytes())
        digest.update(b"" if scene.ego_to_world is None else scene.ego_to_world.tobytes())
    return digest.hexdigest()


def write_summary(root: Path, summary: PlanSummary) -> None:
    write_atomic(root / SUMMARY_FILE, json.dumps(asdict(summary), allow_nan=False).encode())


def read_summary(root: Path) -> PlanSummary | None:
    """The summary of the plan under ``root``; None if there is none, as in older runs."""
    path = root / SUMMARY_FILE
    return read_record(path, PlanSummary, "delete it; the next plan writes it again") if path.exists() else None
