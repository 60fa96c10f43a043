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
from driveforge.finetune.world_model.families.registry import (
    TEXT_STORE,
    Dtype,
    compute_encoder_digest,
    embed_captions,
    load_clip_encoder,
    read_limits,
)
from driveforge.finetune.world_model.limits import require_encodable
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
    cache = cache_driving(config.data, checkpoint, config.run.latents, config.model.dtype)
    print(f"{len(cache)} driving clips in {cache.folder}")
    if config.replay.share > 0:
        others = cache_replay(config.replay, config.data.framing, checkpoint, config.run.latents, config.model.dtype)
        print(f"{len(others)} clips of other domains in {others.folder}")


def cache_driving(data: Data, checkpoint: Path, latents: Path, dtype: Dtype = "float32") -> LatentCache:
    """The latents of the driving data under the codec of ``checkpoint``, in ``latents``, without held-out scenes.

    ``dtype`` is that of a text encoder, whose embeddings of all captions are stored there too.
    """
    opener = partial(open_source, data)
    return encode_source(opener, data.framing, checkpoint, latents, "driving clips", training_indices, dtype)


def cache_replay(
    replay: ReplaySettings,
    framing: Framing,
    checkpoint: Path,
    latents: Path,
    dtype: Dtype = "float32",
    *,
    without_held_out: bool = False,
) -> LatentCache:
    """The latents of the replay domains with the framing of the driving data, without clips of excluded licenses.

    Held-out scenes are left out too if models are evaluated on them.
    """
    opener = partial(open_replay, replay, framing)

    def select(scenes: Sequence[Scene]) -> Sequence[int]:
        licensed = select_licensed(opener, replay, scenes)
        kept = training_indices([scenes[n] for n in licensed]) if without_held_out else range(len(licensed))
        return [licensed[n] for n in kept]

    return encode_source(opener, framing, checkpoint, latents, "replay clips", select, dtype)


def encode_source(
    opener: SourceOpener,
    framing: Framing,
    checkpoint: Path,
    root: Path,
    label: str,
    select: Callable[[Sequence[Scene]], Sequence[int]] = lambda scenes: range(len(scenes)),
    dtype: Dtype = "float32",
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
    key = latent_key(identity, asdict(framing), compute_encoder_digest(checkpoint))
    embed_captions(checkpoint, (scene.caption for scene in scenes), dtype, root / TEXT_STORE)
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
    """Encode ``scenes`` in order, on the GPU or else on all cores; opener and encode must be importable by name."""
    if torch.cuda.is_available():
        encoded = _encode_on_gpu(opener, checkpoint, scenes, encode)
    else:
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
    return _to_arrays(_worker.encode(_worker.encoder, _worker.source.load(scene)))


def _encode_on_gpu(
    opener: SourceOpener, checkpoint: Path, scenes: Sequence[Scene], encode: EncodeFunction
) -> Iterator[dict[str, NDArray[Any]]]:
    source, encoder = opener(), load_clip_encoder(checkpoint)
    encoder.to("cuda")
    for scene in scenes:
        yield _to_arrays(encode(encoder, source.load(scene)))


def _to_arrays(clip: ClipTensors) -> dict[str, NDArray[Any]]:
    return {
        name: (tensor.half() if tensor.is_floating_point() else tensor).cpu().numpy()
        for name, tensor in clip.to_mapping().items()
    }
