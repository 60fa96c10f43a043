"""The cache stage: encode every clip of a source with the VAE once, on all cores."""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from driveforge.datasets.files.digests import compute_digests
from driveforge.datasets.framing import Framing
from driveforge.datasets.latents.cache import LatentCache, LatentCacheWriter, LatentSample, latent_key
from driveforge.datasets.progress import show_status, track
from driveforge.datasets.scene import Clip, Scene
from driveforge.datasets.scene_json import scene_to_json
from driveforge.datasets.source import Source
from driveforge.finetune.world_model.clip_encoder import ClipEncoder
from driveforge.finetune.world_model.clip_tensors import ClipTensors
from driveforge.finetune.world_model.families.registry import load_clip_encoder, read_limits
from driveforge.finetune.world_model.limits import require_encodable
from driveforge.finetune.world_model.model import compute_model_digest
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.inputs.licenses import select_licensed
from driveforge.pipelines.inputs.settings import Data
from driveforge.pipelines.inputs.sources import open_replay, open_source, show_skipped, training_indices
from driveforge.pipelines.processes.parallel import parallel_map
from driveforge.pipelines.registry.models import resolve_checkpoint
from driveforge.pipelines.replay.settings import ReplaySettings

SourceOpener = Callable[[], Source]
EncodeFunction = Callable[[ClipEncoder, Clip], ClipTensors]


def main(config: Config, args: argparse.Namespace) -> None:
    """Encode the driving data, and the replay domains if ``replay.share`` is above 0."""
    checkpoint = resolve_checkpoint(config)
    cache = cache_driving(config.data, checkpoint, config.run.latents)
    print(f"{len(cache)} driving clips in {cache.folder}")
    if config.replay.share > 0:
        others = cache_replay(config.replay, config.data.framing, checkpoint, config.run.latents)
        print(f"{len(others)} clips of other domains in {others.folder}")


def cache_driving(data: Data, checkpoint: Path, latents: Path) -> LatentCache:
    """The latents of the driving data under the VAE of ``checkpoint``, in ``latents``, without held-out scenes."""
    opener = partial(open_source, data)
    return encode_source(opener, data.framing, checkpoint, latents, "driving clips", training_indices)


def cache_replay(replay: ReplaySettings, framing: Framing, checkpoint: Path, latents: Path) -> LatentCache:
    """The latents of the replay domains with the framing of the driving data, without clips of excluded licenses."""
    opener = partial(open_replay, replay, framing)
    select = partial(select_licensed, opener, replay)
    return encode_source(opener, framing, checkpoint, latents, "replay clips", select)


def encode_source(
    opener: SourceOpener,
    framing: Framing,
    checkpoint: Path,
    root: Path,
    label: str,
    select: Callable[[Sequence[Scene]], Sequence[int]] = lambda scenes: range(len(scenes)),
) -> LatentCache:
    """The latent cache of the ``select``-ed scenes of a source; encodes only clips that are not stored yet.

    The cache key includes a digest of the footage, so a replaced file gets a new cache. Every worker process calls
    ``opener``, since a source may hold open files; it must be importable by name (a function, or a partial of one).
    """
    with show_status(f"Listing {label}"):
        source = opener()
        scenes = list(source.scenes())
        scenes = [scenes[n] for n in select(scenes)]
    show_skipped(source)
    require_encodable(scenes, read_limits(checkpoint))
    with show_status(f"Reading {label}"):
        contents = compute_digests([source.files(scene) for scene in scenes], root)
    identity = source_identity(scenes, contents)
    key = latent_key(identity, asdict(framing), compute_model_digest(checkpoint / "vae"))
    with LatentCacheWriter(root, key) as writer:
        missing = [scene for scene in scenes if scene.clip_id not in writer.stored]
        encoded = encode_scenes(opener, checkpoint, missing)
        for sample in track(encoded, f"Encoding {label}", total=len(missing), disable=not missing):
            writer.add(sample)
    return LatentCache(root, key)


def source_identity(scenes: Sequence[Scene], contents: Sequence[str]) -> str:
    """The identity of a list of clips: their scenes as JSON, and the digests of their footage."""
    return json.dumps([[scene_to_json(scene) for scene in scenes], list(contents)], sort_keys=True)


def encode_scenes(
    opener: SourceOpener, checkpoint: Path, scenes: Sequence[Scene], encode: EncodeFunction = ClipEncoder.encode_clip
) -> Iterator[LatentSample]:
    """Encode ``scenes`` on all cores, in order; ``opener`` and ``encode`` must be importable by name."""
    encoded = parallel_map(_encode_one, scenes, _start_worker, (opener, checkpoint, encode))
    for scene, arrays in zip(scenes, encoded, strict=True):
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        yield LatentSample(clip_id=scene.clip_id, domain=scene.domain, caption=scene.caption, tensors=tensors)


@dataclass(frozen=True, slots=True)
class _EncodingWorker:
    """The state of a worker process between clips."""

    source: Source
    encoder: ClipEncoder
    encode: EncodeFunction


_worker: _EncodingWorker


def _start_worker(opener: SourceOpener, checkpoint: Path, encode: EncodeFunction) -> None:
    global _worker
    torch.set_num_threads(1)
    _worker = _EncodingWorker(opener(), load_clip_encoder(checkpoint), encode)


def _encode_one(scene: Scene) -> dict[str, NDArray[Any]]:
    """Returns arrays: torch would send tensors between processes through files."""
    tensors = _worker.encode(_worker.encoder, _worker.source.load(scene)).to_mapping()
    return {name: (t.half() if t.is_floating_point() else t).numpy() for name, t in tensors.items()}
