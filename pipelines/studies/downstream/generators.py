"""The generated clips of the study, and the gate's verdicts on them, as a team would have them from its own drives."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import write_atomic
from driveforge.datasets.progress import track
from driveforge.datasets.scene import Scene
from driveforge.datasets.stores.local import LocalStore
from driveforge.datasets.webdataset_shards.format import roundtrip_clip, scene_from_members
from driveforge.datasets.webdataset_shards.tar_samples import read_samples
from driveforge.finetune.world_model.families.registry import is_model_folder
from driveforge.finetune.world_model.model import compute_model_digest
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.generate.generator import Generator, load_generator
from driveforge.pipelines.generate.plan.planner import plan_requests
from driveforge.pipelines.generate.requests import FIRST_FRAMES_FOLDER, Request, store_first_frames
from driveforge.pipelines.generate.worker import candidate_members, generate_clip
from driveforge.pipelines.processes.parallel import parallel_map
from driveforge.pipelines.registry.models import BASE
from driveforge.pipelines.studies.downstream.drives import (
    Drive,
    load_clip,
    record,
    simulate_command,
    store_clip,
    store_members,
)
from driveforge.pipelines.studies.downstream.settings import DownstreamStudy
from driveforge.validation.cross_conformal import calibrate
from driveforge.validation.measures import measure
from driveforge.validation.records import Measures
from driveforge.validation.verdict import judge

RECORDED, SIMULATOR, ACCEPTED = "recorded", "simulator", "accepted"
# Seeds of the drives to test on and to calibrate on, after that of the drives to train on.
TEST, CALIBRATION = 1, 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A generator: ``name`` for the page, and the digest of its weights."""

    name: str
    folder: Path
    digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneratedClip:
    """A stored clip of a generator with the drive that it is an edit of, and whether the gate accepts it."""

    path: Path
    drive: Drive
    edit: str
    state: str


def open_checkpoints(names: Sequence[str]) -> list[Checkpoint]:
    """The generators in model folders, or the shipped base; raises UserError if two have the same name or weights."""
    found = [_open_checkpoint(name) for name in names]
    for kind in ("name", "digest"):
        values = [getattr(one, kind) for one in found]
        if doubled := [value for value in values if values.count(value) > 1]:
            raise UserError(f"checkpoints: two models have the {kind} {doubled[0]}; give folders of different {kind}s")
    return found


def _open_checkpoint(name: str) -> Checkpoint:
    folder = BASE if name == "base" else Path(name)
    if not is_model_folder(folder):
        raise UserError(f"checkpoints: {folder} holds no model; use base or a saved model")
    label = "shipped base" if name == "base" else Path(os.path.abspath(folder)).name
    return Checkpoint(name=label, folder=folder, digest=compute_model_digest(folder))


def recording_path(run_dir: Path, drive: Drive) -> Path:
    return run_dir / RECORDED / f"{drive.seed}-{drive.number:05d}.tar"


def record_drives(drives: Sequence[Drive], run_dir: Path) -> None:
    """Store the recordings of ``drives`` that are missing."""
    missing = [drive for drive in drives if not recording_path(run_dir, drive).is_file()]
    _run(partial(_record, run_dir=run_dir), missing, "Recording")


def _record(drive: Drive, run_dir: Path) -> None:
    store_clip(recording_path(run_dir, drive), record(drive), {})


def plan(settings: DownstreamStudy, drives: Sequence[Drive], model: str) -> list[tuple[Drive, Request]]:
    """The requests of `driveforge generate` with its default edits and samplers, each with the drive that it edits.

    They are the same commands for every ``model``.
    """
    by_source = {drive.scene().source: drive for drive in drives}

    def store_first(scene: Scene) -> str:
        clip, _ = load_clip(recording_path(settings.run_dir, by_source[scene.source]))
        return store_first_frames(settings.run_dir / FIRST_FRAMES_FOLDER, clip.frames[:, :1])

    generate = replace(compose().generate, num_clips=settings.num_generated, seed=settings.seed)
    requests = plan_requests([drive.scene() for drive in drives], store_first, generate, model)
    return [(by_source[request.scene.source], request) for request in requests]


def simulate_requests(settings: DownstreamStudy, drives: Sequence[Drive]) -> list[GeneratedClip]:
    """Clips of the same commands by a perfect generator, which no gate has to judge."""
    planned, folder = plan(settings, drives, SIMULATOR), settings.run_dir / SIMULATOR
    missing = [pair for pair in planned if not _path(folder, pair[1]).is_file()]
    _run(partial(_simulate, folder=folder), missing, "Simulating")
    return [
        GeneratedClip(path=_path(folder, request), drive=drive, edit=request.edit, state=ACCEPTED)
        for drive, request in planned
    ]


def _simulate(pair: tuple[Drive, Request], folder: Path) -> None:
    drive, request = pair
    store_clip(_path(folder, request), simulate_command(drive, request.scene), {})


def generate_requests(
    settings: DownstreamStudy, checkpoint: Checkpoint, drives: Sequence[Drive]
) -> list[GeneratedClip]:
    """The clips of a generator with the verdicts of a gate that is calibrated on other drives through its VAE."""
    planned, folder = plan(settings, drives, checkpoint.digest), settings.run_dir / checkpoint.digest
    missing = [request for _, request in planned if not _path(folder, request).is_file()]
    make = partial(_generate, root=settings.run_dir, folder=folder)
    _run(make, missing, f"Generating with the {checkpoint.name}", checkpoint.folder)
    limits = calibrate(
        measure_good(settings, checkpoint),
        name="drives through the VAE of the generator and H.264",
        false_reject_rate=settings.false_reject_rate,
    )
    clips = []
    for drive, request in planned:
        path = _path(folder, request)
        state = judge(_stored_measures(path), limits).state
        clips.append(GeneratedClip(path=path, drive=drive, edit=request.edit, state=state))
    return clips


def _generate(request: Request, root: Path, folder: Path) -> None:
    clip = generate_clip(_generator, LocalStore(root), request)
    store_members(_path(folder, request), request.scene.clip_id, candidate_members(request, clip))


def measure_good(settings: DownstreamStudy, checkpoint: Checkpoint) -> list[Measures]:
    """The measures of good drives after the VAE of the generator and H.264."""
    folder = settings.run_dir / checkpoint.digest / "good"
    drives = [Drive(seed=settings.seed + CALIBRATION, number=number) for number in range(settings.num_good)]
    missing = [drive for drive in drives if not _measures_path(folder, drive).is_file()]
    _run(partial(_measure_good, folder=folder), missing, "Calibrating", checkpoint.folder)
    return [Measures.from_json(json.loads(_measures_path(folder, drive).read_bytes())) for drive in drives]


def _measure_good(drive: Drive, folder: Path) -> None:
    clip = record(drive).with_scene(tracks=drive.scene().tracks)  # boxes as those of commands
    measures = measure(roundtrip_clip(_generator.reconstruct(clip)))
    write_atomic(_measures_path(folder, drive), json.dumps(measures.to_json()).encode())


def _measures_path(folder: Path, drive: Drive) -> Path:
    return folder / f"{drive.seed}-{drive.number:05d}.json"


def _path(folder: Path, request: Request) -> Path:
    return folder / f"{request.id}.tar"


def _stored_measures(path: Path) -> Measures:
    ((key, members),) = read_samples(path)
    return Measures.from_json(scene_from_members(members, f"{path}: {key}")[1]["measures"])


_generator: Generator


def _load(folder: Path) -> None:
    global _generator
    _generator = load_generator(folder)


def _run(work: Callable[[Any], None], items: Sequence[Any], title: str, model: Path | None = None) -> None:
    """Do ``work`` for all items in processes that have loaded ``model``."""
    load = (None, ()) if model is None else (_load, (model,))
    for _ in track(parallel_map(work, items, *load), title, len(items), disable=not items):
        pass
