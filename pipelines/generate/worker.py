"""The worker of generation: generates, measures and commits the clips of one unit after another."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from driveforge.datasets.disclosure import mark_videos
from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Clip
from driveforge.datasets.stores.interface import Store
from driveforge.datasets.stores.opening import open_store
from driveforge.datasets.webdataset_shards.format import clip_from_members, clip_members, dump_json, extend_metadata
from driveforge.datasets.webdataset_shards.tarball import write_tar
from driveforge.pipelines.generate.commit import CommitLog
from driveforge.pipelines.generate.generator import Generator, GeneratorLoader
from driveforge.pipelines.generate.requests import (
    FIRST_FRAMES_FOLDER,
    SCENES_FOLDER,
    Request,
    load_first_frames,
    settings_to_json,
)
from driveforge.pipelines.generate.source_frames import hash_clip
from driveforge.pipelines.generate.units import StoredRequests, WorkUnit
from driveforge.pipelines.inputs.instruments import InstrumentsLoader
from driveforge.validation.instruments import DEFAULT_INSTRUMENTS, Instruments
from driveforge.validation.measures import measure


class GenerationWorker:
    """A worker with one generator; turns each unit into one committed tar."""

    def __init__(
        self, loader: GeneratorLoader, root: Path | Store, instruments: InstrumentsLoader = Instruments
    ) -> None:
        self._generator, self._instruments = loader(), instruments()
        self._store = open_store(root)

    def make(self, unit: WorkUnit) -> dict[str, Any]:
        """Generate, measure, pack and commit ``unit``. Committing is idempotent. Returns its clips and their cost."""
        start = time.monotonic()
        unit = _with_scenes(unit, self._store)
        samples = ((request.scene.clip_id, self._sample(request)) for request in unit.requests)
        clips = commit_samples(self._store, unit.id, samples)
        return {"clips": clips, "seconds": time.monotonic() - start, "gpus": float(torch.cuda.is_available())}

    def _sample(self, request: Request) -> dict[str, bytes]:
        return candidate_members(request, generate_clip(self._generator, self._store, request), self._instruments)


def _with_scenes(unit: WorkUnit, store: Store) -> WorkUnit:
    """``unit`` with its scenes fetched from ``store``, in which a driver on another machine put them."""
    if not isinstance(unit.requests, StoredRequests) or not store.is_remote:
        return unit
    for record in unit.requests.records:
        if isinstance(record["scene"], str):
            store.fetch(f"{SCENES_FOLDER}/{record['scene']}")
    return replace(unit, requests=replace(unit.requests, root=store.folder))


def generate_clip(generator: Generator, store: Store, request: Request) -> Clip:
    """The clip of ``request`` from the first frames in ``store``; raises UserError for another model."""
    if generator.digest != request.model:
        raise UserError(
            f"{request.scene.clip_id} was planned for model {request.model}, but the loaded model is "
            f"{generator.digest}: start again in another run_dir"
        )
    first_frames = None
    if request.first_frames:
        stored = store.fetch(f"{FIRST_FRAMES_FOLDER}/{request.first_frames}")
        first_frames = load_first_frames(stored.parent, request.first_frames)
    return generator.generate(request.scene, first_frames, seed=request.seed, settings=request.settings)


def commit_samples(store: Store, unit_id: str, samples: Iterable[tuple[str, Mapping[str, bytes]]]) -> int:
    """Pack ``(key, members)`` samples and commit them as a unit; returns their number."""
    with store.scratch(unit_id) as scratch:
        packed = write_tar(scratch, samples)
        CommitLog(store).commit(unit_id, scratch)
    return packed.num_samples


def candidate_members(request: Request, clip: Clip, instruments: Instruments = DEFAULT_INSTRUMENTS) -> dict[str, bytes]:
    """The members of a candidate's sample, measured as it is stored: decoded again from its own bytes.

    Its videos are marked as generated.
    """
    members, clip_id = clip_members(clip, {}), request.scene.clip_id
    metadata = candidate_metadata(request, clip_from_members(members, clip_id)[0], instruments)
    return mark_videos(members) | {"json": dump_json(extend_metadata(members["json"], metadata, clip_id))}


def candidate_metadata(request: Request, clip: Clip, instruments: Instruments = DEFAULT_INSTRUMENTS) -> dict[str, Any]:
    """The metadata of a candidate: its request, model and settings, its measures and its provenance.

    A pure function of the request and the clip, without timestamps, so that a repeated unit has the same bytes.
    """
    return {
        "request": request.id,
        "edit": request.edit,
        "seed": request.seed,
        "model": request.model,
        "settings": settings_to_json(request.settings),
        "first_frames": request.first_frames,
        "attempt": request.attempt,
        "attempt_of": request.attempt_of,
        "measures": measure(clip, instruments).to_json(),
        "frame_hashes": hash_clip(clip),
        "provenance": {"synthetic": True, "recording": request.scene.source, "split": request.scene.split},
    }
