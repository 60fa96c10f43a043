"""Held-out evaluation clips, encoded once and shared by all run folders of a parent folder."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.digests import compute_digests
from driveforge.datasets.files.lock import file_lock
from driveforge.datasets.framing import Framing
from driveforge.datasets.latents.cache import INDEX, LatentCache, LatentCacheWriter, latent_key
from driveforge.datasets.progress import show_status, track
from driveforge.datasets.scene import Clip, Scene
from driveforge.datasets.source import Source
from driveforge.finetune.evaluation.clips import (
    EvaluationClip,
    EvaluationSet,
    EvaluationTensors,
    encode_evaluation_clip,
    to_single_camera_clip,
    to_single_camera_scene,
)
from driveforge.finetune.world_model.clip_encoder import ClipEncoder
from driveforge.finetune.world_model.families.registry import compute_encoder_digest, load_clip_encoder, read_limits
from driveforge.finetune.world_model.limits import require_encodable
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.console import print_message
from driveforge.pipelines.inputs.settings import Data, NuScenesData, SimulatedData
from driveforge.pipelines.inputs.sources import HELD_OUT_SPLITS, evaluation_indices, open_evaluation, open_path
from driveforge.pipelines.replay.settings import ReplaySettings
from driveforge.pipelines.train.cache import SourceOpener, encode_scenes, source_identity

FORMAT = "evaluation 1"
SceneSelector = Callable[[Sequence[Scene]], list[Scene]]


def load_evaluation_set(config: Config, checkpoint: Path) -> EvaluationSet:
    """The clips of ``config.evaluate``, encoded by the VAE of ``checkpoint``; encodes only what is not stored yet.

    Procedural clips use ``evaluate.seed``. Footage contributes its held-out scenes, evenly spaced, or all scenes if it
    has no splits. Raises UserError if the seed is also a training seed, or if footage holds too few clips.
    """
    _require_unseen(config)
    framing, root = config.data.framing, config.run.evaluation_clips
    clips: list[EvaluationClip] = []
    if config.evaluate.domains:
        clips += encode_evaluation_clips(partial(open_evaluation, config.evaluate, framing), framing, checkpoint, root)
    select = partial(_held_out, count=config.evaluate.clips_per_domain)
    for path in config.evaluate.footage:
        clips += encode_evaluation_clips(
            partial(open_footage, config.data, config.replay, path), framing, checkpoint, root, select
        )
    return EvaluationSet(clips=tuple(clips), codec_digest=load_clip_encoder(checkpoint).codec.digest())


def open_footage(data: Data, replay: ReplaySettings, path: Path) -> Source:
    """The clips at ``path``, of all splits; raises UserError if it is trained on and no scene is held out."""
    if not path.exists():
        raise UserError(f"evaluate.footage: {path} does not exist")
    if isinstance(data, NuScenesData):
        data = replace(data, split="all")
    source = open_path(path, data, replay)
    roots = {"data.root": getattr(data, "root", None), "replay.root": replay.root}
    trained_on = [key for key, root in roots.items() if root is not None and root.resolve() == path.resolve()]
    if trained_on and not any(scene.split in HELD_OUT_SPLITS for scene in source.scenes()):
        raise UserError(
            f"evaluate.footage: {path} is {trained_on[0]} too, and no scene is held out "
            f"({', '.join(HELD_OUT_SPLITS)}): use footage that is not trained on"
        )
    return source


def _require_unseen(config: Config) -> None:
    data, replay, training_seeds = config.data, config.replay, {"pretrain.seed": config.pretrain.seed}
    if isinstance(data, SimulatedData):
        training_seeds["data.seed"] = data.seed
    if replay.root is None:
        training_seeds["replay.seed"] = replay.seed
    for key, seed in training_seeds.items():
        if seed == config.evaluate.seed:
            raise UserError(
                f"evaluate.seed={seed} equals {key}, so training clips would be evaluated: choose another seed"
            )


def _held_out(scenes: Sequence[Scene], count: int) -> list[Scene]:
    """``count`` held-out scenes of each domain, evenly spaced, or all if there are fewer; no padded scenes."""
    by_domain: dict[str, list[Scene]] = defaultdict(list)
    for scene in (scenes[number] for number in evaluation_indices(scenes)):
        if not scene.held_frames:
            by_domain[scene.domain].append(scene)
    chosen: list[Scene] = []
    for held in by_domain.values():
        number = min(count, len(held))
        chosen += [held[k * len(held) // number] for k in range(number)]
    return chosen


def encode_evaluation_clips(
    opener: SourceOpener, framing: Framing, checkpoint: Path, root: Path, select: SceneSelector = list
) -> Iterator[EvaluationClip]:
    """The ``select``-ed clips of a source, encoded; clips that are stored under ``root`` are read from there."""
    with show_status("Listing evaluation clips"):
        source = opener()
        scenes = select(list(source.scenes()))
        require_encodable(scenes, read_limits(checkpoint))
        contents = compute_digests([source.files(scene) for scene in scenes], root)
    identity = f"{FORMAT} {source_identity(scenes, contents)}"
    key = latent_key(identity, asdict(framing), compute_encoder_digest(checkpoint))
    # Other run folders share these clips.
    with file_lock(root / f".{key}.lock", print_message), LatentCacheWriter(root, key) as writer:
        missing = [scene for scene in scenes if scene.clip_id not in writer.stored]
        made = encode_scenes(opener, checkpoint, missing, _encode)
        for sample in track(made, "Encoding evaluation clips", len(missing), disable=not missing):
            writer.add(sample)
    cache = LatentCache(root, key)
    os.utime(cache.folder / INDEX)  # the time of the last use
    samples = {sample.clip_id: sample for sample in map(cache.sample, range(len(cache)))}
    for scene in scenes:
        tensors = EvaluationTensors.from_mapping(samples[scene.clip_id].tensors)
        yield EvaluationClip(scene=to_single_camera_scene(scene), tensors=tensors)


def _encode(encoder: ClipEncoder, clip: Clip) -> EvaluationTensors:
    return encode_evaluation_clip(encoder, to_single_camera_clip(clip))
