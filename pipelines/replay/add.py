"""What ``replay add`` does: clips of any source through the codec and into the standing buffer, as one change."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from driveforge.datasets.errors import UserError
from driveforge.datasets.latents.cache import LatentSample
from driveforge.datasets.progress import track
from driveforge.datasets.scene import Scene
from driveforge.datasets.video_files import make_clip_id
from driveforge.pipelines.inputs.at_path import is_simulated, open_path, place_of, scenes_to_add, standing_key
from driveforge.pipelines.inputs.items import show_skipped
from driveforge.pipelines.inputs.licenses import licence_of
from driveforge.pipelines.inputs.settings import Data
from driveforge.pipelines.replay.replaced import footage_of, replaced
from driveforge.pipelines.replay.settings import ReplaySettings
from driveforge.pipelines.train.cache import OpenSource, encode_scenes
from driveforge.replay.buffer import ReplayBuffer
from driveforge.replay.persistent import open_persistent, read_persistent_settings, require_key, update_transaction
from driveforge.replay.plan import DRIVING
from driveforge.replay.settings import BufferSettings

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """So many clips, or else so many bytes of latents."""

    clips: int = 0
    num_bytes: int = 0

    def in_clips(self, bytes_a_clip: Callable[[], int]) -> int:
        """``bytes_a_clip`` is asked only where it is needed: it may have to encode a clip to tell."""
        return self.clips or max(1, self.num_bytes // bytes_a_clip())


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What is asked for; None leaves the buffer's own setting, or the source's own word, as it is."""

    path: Path
    domain: str | None = None
    licence: str | None = None
    scores: Path | None = None
    quota: Room | None = None
    capacity: Room | None = None
    keep: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Added:
    """Clips that the source has, that were new and encoded, and that are in the buffer now of those.

    ``twins`` were not offered: the buffer holds clips of their names that came from elsewhere. Clips of this source
    that were replaced under their names have left the buffer.
    """

    num_clips: int
    num_encoded: int
    num_kept: int
    num_replaced: int
    twins: tuple[str, ...]


def parse_room(text: str) -> Room:
    """``500`` clips, or ``20GB``; a UserError for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(?:([kmgt]i?)?b)?", text.strip().lower())
    number, has_unit = (float(found[1]), text.strip().lower().endswith("b")) if found else (0.0, False)
    if not found or number <= 0 or not (has_unit or number.is_integer()):
        raise UserError(f"{text!r} is neither a number of clips, such as 500, nor a size, such as 20GB")
    return Room(num_bytes=int(number * _UNITS[found[2] or ""])) if has_unit else Room(clips=int(number))


def add(root: Path, data: Data, replay: ReplaySettings, checkpoint: Path, wish: Wish) -> Added:
    """Offers the clips at ``wish.path`` to the buffer in ``root``, encoding only those that may stay."""
    framing = data.framing
    path = wish.path if is_simulated(wish.path) else wish.path.resolve()
    opened = partial(open_path, path, data, replay, framing)
    source = opened()
    show_skipped(source)
    scenes = scenes_to_add(path, source, framing)
    place = place_of(path, replay)
    told = licence_of(None if is_simulated(path) else path, source)
    scores = _read_scores(wish.scores, scenes) if wish.scores else {}
    names = {scene.clip_id: _name(scene, place, wish.domain) for scene in scenes}
    new = BufferSettings(
        capacity=replay.capacity,
        seed=replay.seed,
        key=standing_key(framing, checkpoint),
        retention=wish.keep or "random",
    )
    bytes_a_clip = partial(_bytes_a_clip, root, opened, checkpoint, scenes)
    settings = _settings(root, wish, new, {domain for domain, _ in names.values()}, bytes_a_clip)

    footage = footage_of(scenes, source, root)

    def origin(scene: Scene) -> dict[str, str]:
        words = {"place": place, "source": scene.source, "license": wish.licence or told(scene)}
        words |= footage[scene.clip_id]
        words["added"] = datetime.now(UTC).isoformat(timespec="seconds")
        return words | ({"score": repr(scores[scene.clip_id])} if scores else {})

    with update_transaction(root, settings) as buffer:
        stale = _stale(buffer, place, {names[clip_id]: found for clip_id, found in footage.items()}, root)
        num_replaced = buffer.remove(lambda entry: (entry["domain"], entry["clip_id"]) in stale) if stale else 0
        twins = {scene.clip_id for scene in scenes if _is_twin(buffer, names[scene.clip_id], place)}
        chosen = _wanted(buffer, [scene for scene in scenes if scene.clip_id not in twins], names)
        encoded = track(encode_scenes(opened, checkpoint, chosen), "Encoding", total=len(chosen), disable=not chosen)
        for scene, sample in zip(chosen, encoded, strict=True):
            domain, clip_id = names[scene.clip_id]
            buffer.add(replace(sample, domain=domain, clip_id=clip_id, origin=origin(scene)))
        buffer.prune()
        kept = sum(buffer.contains(*names[scene.clip_id]) for scene in chosen)
    return Added(
        num_clips=len(scenes),
        num_encoded=len(chosen),
        num_kept=kept,
        num_replaced=num_replaced,
        twins=tuple(sorted(twins)),
    )


def _name(scene: Scene, place: str, domain: str | None) -> tuple[str, str]:
    """Domain and clip id in the buffer, where clips of many sources meet."""
    name = domain or scene.domain
    if name == DRIVING:
        raise UserError(f"a replay domain may not be called {DRIVING!r}, which names the driving samples")
    return name, f"{make_clip_id(Path(place).name)}-{scene.clip_id}"


def _wanted(buffer: ReplayBuffer, scenes: Sequence[Scene], names: Mapping[str, tuple[str, str]]) -> list[Scene]:
    may_stay = buffer.would_accept(names[scene.clip_id] for scene in scenes)
    return [scene for scene, is_wanted in zip(scenes, may_stay, strict=True) if is_wanted]


def _stale(
    buffer: ReplayBuffer, place: str, now: Mapping[tuple[str, str], Mapping[str, str]], notes: Path
) -> set[tuple[str, str]]:
    """Domain and clip id of what came from ``place``, but from other pixels, or under another description."""
    ours = [entry for entry in buffer.entries() if entry.get("origin", {}).get("place") == place]
    described = [
        entry
        for entry in ours
        if (found := now.get((entry["domain"], entry["clip_id"]))) is not None
        and found["description"] != entry["origin"].get("description")
    ]
    return {(entry["domain"], entry["clip_id"]) for entry in [*described, *replaced(ours, notes)]}


def _is_twin(buffer: ReplayBuffer, name: tuple[str, str], place: str) -> bool:
    entry = buffer.entry(*name)
    return entry is not None and entry.get("origin", {}).get("place") != place


def _settings(
    root: Path, wish: Wish, new: BufferSettings, domains: set[str], bytes_a_clip: Callable[[], int]
) -> BufferSettings:
    """Those of the buffer, or ``new`` where there is none yet, changed as asked."""
    settings = read_persistent_settings(root) or new
    require_key(root, settings, new.key)
    if wish.keep and wish.keep != settings.retention:
        raise UserError(f"{root}: keeps by {settings.retention}, not by {wish.keep}; fill another replay.buffer")
    if (settings.retention == "loss") != (wish.scores is not None):
        raise UserError("--scores FILE goes with a buffer that keeps by loss (--keep loss), and with no other")
    capacity, quotas = settings.capacity, dict(settings.quotas)
    if wish.capacity:
        capacity = wish.capacity.in_clips(bytes_a_clip)
    if wish.quota:
        quotas |= dict.fromkeys(domains, wish.quota.in_clips(bytes_a_clip))
    return replace(settings, capacity=capacity, quotas=quotas)


def _bytes_a_clip(root: Path, opened: OpenSource, checkpoint: Path, scenes: Sequence[Scene]) -> int:
    """Of latents; all clips of a buffer have as many."""
    with suppress(UserError):  # there is none yet, or it was emptied
        buffer = open_persistent(root)
        return num_bytes_of(buffer.sample(buffer.domains[0], 0))
    return num_bytes_of(next(encode_scenes(opened, checkpoint, scenes[:1])))


def num_bytes_of(sample: LatentSample) -> int:
    return sum(tensor.nbytes for tensor in sample.tensors.values())


def _read_scores(path: Path, scenes: Sequence[Scene]) -> dict[str, float]:
    """Scores by clip id, of a JSON object; a UserError where a clip of ``scenes`` has none."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        scores = {str(clip_id): float(score) for clip_id, score in record.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f'{path}: is not a JSON object such as {{"<clip id>": 0.37}} ({error})') from error
    if missing := [scene.clip_id for scene in scenes if scene.clip_id not in scores]:
        raise UserError(f"{path}: has no score of {len(missing)} clips, the first is {missing[0]}")
    return scores
