"""Accepted clips as scenes with videos, for formats that describe motion; clips that lack it are skipped."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from driveforge.datasets.disclosure import mark_generated
from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.remux import Part, join_videos
from driveforge.datasets.scene import Scene
from driveforge.datasets.select_frames import select_frames
from driveforge.datasets.webdataset_shards.data_card import Provenance
from driveforge.datasets.webdataset_shards.format import dump_json, video_member
from driveforge.datasets.webdataset_shards.packing import AcceptedSample
from driveforge.datasets.webdataset_shards.settings import ExportSettings
from driveforge.datasets.webdataset_shards.tar_samples import read_members
from driveforge.pipelines.console import print_message
from driveforge.pipelines.export.accepted import accepted_samples, provenance
from driveforge.pipelines.run_dir import RunDir
from driveforge.pipelines.validate.gate import read_verdicts

CLIPS_FILE = "clips.jsonl"
_MAX_NAMED = 3


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AcceptedClip:
    """A scene without its held frames, the sample that it is from, and that sample's metadata with the verdict."""

    scene: Scene
    sample: AcceptedSample = field(repr=False)
    metadata: dict[str, Any] = field(repr=False)
    is_cut: bool

    def video(self, camera: str) -> bytes:
        """The MP4 of a camera with the frames of ``scene``, copied from the sample and marked as generated."""
        name = video_member(camera)
        where = f"{self.sample.tar}: {self.sample.key}: {name}"
        if name not in self.sample.members:
            raise UserError(f"{where} is missing")
        content = mark_generated(read_members(self.sample.tar, {name: self.sample.members[name]})[name])
        if not self.is_cut:
            return content
        part = Part(video=content, num_frames=self.scene.num_frames, name=where)
        return join_videos([part], self.scene.frame_rate or 1.0)

    def record(self) -> dict[str, Any]:
        """The line of the clip in ``CLIPS_FILE``."""
        scene = self.scene
        described = {"clip_id": scene.clip_id, "domain": scene.domain, "split": scene.split, "source": scene.source}
        return described | {"metadata": self.metadata}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AcceptedClips:
    """The clips to export, in the order of their verdicts, and the statistics of all verdicts."""

    clips: Sequence[AcceptedClip]
    provenance: Provenance

    def describe(self) -> str:
        """Provenance in a sentence or two, for the README of an export."""
        held_out = sum(bool(clip.metadata.get("from_evaluation_split")) for clip in self.clips)
        text = (
            f"All clips are synthetic. The model {self.provenance.model} generated {self.provenance.num_generated} "
            f"candidates; a gate with the limits of {self.provenance.calibration}, or a reviewer, accepted these."
        )
        leak = f" {held_out} are from scenes of an evaluation split: a model trained on them cannot be evaluated on it."
        return text + leak * bool(held_out)


def read_accepted(run: RunDir, settings: ExportSettings, find_problem: Callable[[Scene], str]) -> AcceptedClips:
    """The accepted clips of ``run``, except those for which ``find_problem`` says why not; they are printed.

    Raises UserError if none was accepted, if all have a problem, or if one is of an evaluation split and
    ``settings`` do not allow it.
    """
    rows = read_verdicts(run.verdicts)
    samples = accepted_samples(rows, run.candidates, allow_evaluation_split=settings.allow_evaluation_split)
    if not samples:
        raise UserError("no clip was accepted, so there is nothing to export; see the reasons of the rejections")
    keys = Counter(sample.key for sample in samples)
    if repeated := [key for key, count in keys.items() if count > 1]:
        raise UserError(f"{run.candidates}: {repeated[0]} was accepted twice, in two tars; export only one of them")
    clips, problems = split_clips(map(_read_clip, samples), lambda clip: find_problem(clip.scene))
    if not clips:
        raise UserError(f"none of the {len(samples)} accepted clips can be exported: {next(iter(problems))}")
    return AcceptedClips(clips=clips, provenance=provenance(rows))


def split_clips(
    clips: Iterable[AcceptedClip], find_problem: Callable[[AcceptedClip], str]
) -> tuple[list[AcceptedClip], Mapping[str, list[str]]]:
    """The clips without a problem, and the names of the others by problem, which are printed, a line for each."""
    kept: list[AcceptedClip] = []
    problems: defaultdict[str, list[str]] = defaultdict(list)
    for clip in clips:
        if problem := find_problem(clip):
            problems[problem].append(clip.scene.clip_id)
        else:
            kept.append(clip)
    print_skipped(problems)
    return kept, problems


def print_skipped(problems: Mapping[str, Sequence[str]]) -> None:
    """Print a line for each problem, with the first of the clips that have it and are left out."""
    for problem, names in problems.items():
        others = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
        print_message(f"not exported: {', '.join(map(shorten, names[:_MAX_NAMED]))}{others}: {problem}")


def clip_lines(clips: Sequence[AcceptedClip]) -> bytes:
    """One line of JSON per clip with its metadata: request, measures, provenance, verdict."""
    return b"".join(dump_json(clip.record()) + b"\n" for clip in clips)


def _read_clip(sample: AcceptedSample) -> AcceptedClip:
    scene, metadata = sample.read_scene()
    is_cut = scene.held_frames > 0
    if is_cut:
        scene = select_frames(scene, np.arange(scene.num_frames - scene.held_frames))
    return AcceptedClip(scene=replace(scene, held_frames=0), sample=sample, metadata=metadata, is_cut=is_cut)
