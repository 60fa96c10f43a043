"""``replay add``: encode the clips of any source and add them to the persistent buffer in one transaction."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from driveforge.datasets.domains import DRIVING
from driveforge.datasets.errors import UserError
from driveforge.datasets.latents.cache import LatentSample
from driveforge.datasets.progress import track
from driveforge.datasets.scene import Scene
from driveforge.datasets.video_files import make_clip_id
from driveforge.pipelines.inputs.licenses import license_reader
from driveforge.pipelines.inputs.settings import Data
from driveforge.pipelines.inputs.sources import is_simulated, open_path, show_skipped
from driveforge.pipelines.replay.clips import get_source_id, persistent_key, select_scenes_to_add
from driveforge.pipelines.replay.replaced import describe_footage, find_replaced
from driveforge.pipelines.replay.settings import ReplaySettings
from driveforge.pipelines.train.cache import SourceOpener, encode_scenes
from driveforge.replay.buffer import ReplayBuffer
from driveforge.replay.persistent import open_persistent, read_persistent_settings, require_key, update_transaction
from driveforge.replay.settings import BufferSettings

_BYTES_PER_UNIT = {
    "": 1,
    "k": 10**3,
    "m": 10**6,
    "g": 10**9,
    "t": 10**12,
    "ki": 2**10,
    "mi": 2**20,
    "gi": 2**30,
    "ti": 2**40,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class SizeLimit:
    """A number of clips, or a number of bytes of latents."""

    clips: int = 0
    num_bytes: int = 0

    def to_clips(self, bytes_per_clip: Callable[[], int]) -> int:
        """The limit in clips. ``bytes_per_clip`` is called only for a size in bytes, since it may encode a clip."""
        return self.clips or max(1, self.num_bytes // bytes_per_clip())


@dataclass(frozen=True, kw_only=True, slots=True)
class AddRequest:
    """The arguments of ``replay add``; None keeps the setting of the buffer, or what the source states."""

    path: Path
    domain: str | None = None
    license: str | None = None
    scores: Path | None = None
    quota: SizeLimit | None = None
    capacity: SizeLimit | None = None
    retention: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class AddResult:
    """The numbers of clips in the source, of new ones that were encoded, and of those that the buffer kept.

    ``num_replaced`` clips of this source were removed from the buffer, since their footage changed. ``duplicates`` were
    not added: the buffer holds clips with these ids from another source.
    """

    num_clips: int
    num_encoded: int
    num_kept: int
    num_replaced: int
    duplicates: tuple[str, ...]


def parse_size(text: str) -> SizeLimit:
    """Parse ``500`` (clips) or ``20GB``. Raises UserError for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(?:([kmgt]i?)?b)?", text.strip().lower())
    number, has_unit = (float(found[1]), text.strip().lower().endswith("b")) if found else (0.0, False)
    if not found or number <= 0 or not (has_unit or number.is_integer()):
        raise UserError(f"{text!r} is neither a number of clips, such as 500, nor a size, such as 20GB")
    return (
        SizeLimit(num_bytes=int(number * _BYTES_PER_UNIT[found[2] or ""])) if has_unit else SizeLimit(clips=int(number))
    )


def add(root: Path, data: Data, replay: ReplaySettings, checkpoint: Path, request: AddRequest) -> AddResult:
    """Add the clips at ``request.path`` to the buffer in ``root``; only clips that it would keep are encoded."""
    framing = data.framing
    path = request.path if is_simulated(request.path) else request.path.resolve()
    opener = partial(open_path, path, data, replay)
    source = opener()
    show_skipped(source)
    scenes = select_scenes_to_add(path, source, framing)
    source_id = get_source_id(path, replay)
    read_license = license_reader(None if is_simulated(path) else path, source)
    scores = _read_scores(request.scores, scenes) if request.scores else {}
    names = {scene.clip_id: _buffer_name(scene, source_id, request.domain) for scene in scenes}
    key = persistent_key(framing, checkpoint)
    retention = request.retention or "random"
    new = BufferSettings(capacity=replay.capacity, seed=replay.seed, key=key, retention=retention)
    bytes_per_clip = partial(_bytes_per_clip, root, opener, checkpoint, scenes)
    domains = {domain for domain, _ in names.values()}
    settings = _updated_settings(root, request, new, domains, bytes_per_clip)
    footage = describe_footage(scenes, source, root)

    def make_origin(scene: Scene) -> dict[str, str]:
        origin = {"place": source_id, "source": scene.source, "license": request.license or read_license(scene)}
        origin |= footage[scene.clip_id]
        origin["added"] = datetime.now(UTC).isoformat(timespec="seconds")
        return origin | ({"score": repr(scores[scene.clip_id])} if scores else {})

    with update_transaction(root, settings) as buffer:
        stale = _find_stale(buffer, source_id, {names[clip_id]: record for clip_id, record in footage.items()}, root)
        num_replaced = buffer.remove(lambda entry: (entry["domain"], entry["clip_id"]) in stale) if stale else 0
        duplicates = {scene.clip_id for scene in scenes if _is_duplicate(buffer, names[scene.clip_id], source_id)}
        chosen = _select_accepted(buffer, [scene for scene in scenes if scene.clip_id not in duplicates], names)
        encoded = track(encode_scenes(opener, checkpoint, chosen), "Encoding", total=len(chosen), disable=not chosen)
        for scene, sample in zip(chosen, encoded, strict=True):
            domain, clip_id = names[scene.clip_id]
            buffer.add(replace(sample, domain=domain, clip_id=clip_id, origin=make_origin(scene)))
        buffer.prune()
        num_kept = sum(buffer.contains(*names[scene.clip_id]) for scene in chosen)
    return AddResult(
        num_clips=len(scenes),
        num_encoded=len(chosen),
        num_kept=num_kept,
        num_replaced=num_replaced,
        duplicates=tuple(sorted(duplicates)),
    )


def _buffer_name(scene: Scene, source_id: str, domain: str | None) -> tuple[str, str]:
    """The domain and clip id in the buffer; the id starts with the name of the source, since sources share ids."""
    name = domain or scene.domain
    if name == DRIVING:
        raise UserError(f"a replay domain may not be called {DRIVING!r}, which names the driving samples")
    return name, f"{make_clip_id(Path(source_id).name)}-{scene.clip_id}"


def _select_accepted(
    buffer: ReplayBuffer, scenes: Sequence[Scene], names: Mapping[str, tuple[str, str]]
) -> list[Scene]:
    would_accept = buffer.would_accept(names[scene.clip_id] for scene in scenes)
    return [scene for scene, is_accepted in zip(scenes, would_accept, strict=True) if is_accepted]


def _find_stale(
    buffer: ReplayBuffer, source_id: str, footage: Mapping[tuple[str, str], Mapping[str, str]], root: Path
) -> set[tuple[str, str]]:
    """Domain and clip id of the clips from ``source_id`` whose pixels or description have changed."""
    ours = [entry for entry in buffer.entries() if entry.get("origin", {}).get("place") == source_id]
    redescribed = [
        entry
        for entry in ours
        if (current := footage.get((entry["domain"], entry["clip_id"]))) is not None
        and current["description"] != entry["origin"].get("description")
    ]
    return {(entry["domain"], entry["clip_id"]) for entry in [*redescribed, *find_replaced(ours, root)]}


def _is_duplicate(buffer: ReplayBuffer, name: tuple[str, str], source_id: str) -> bool:
    entry = buffer.entry(*name)
    return entry is not None and entry.get("origin", {}).get("place") != source_id


def _updated_settings(
    root: Path, request: AddRequest, new: BufferSettings, domains: set[str], bytes_per_clip: Callable[[], int]
) -> BufferSettings:
    """The settings of the buffer, or ``new`` if there is none yet, with the changes that ``request`` makes."""
    settings = read_persistent_settings(root) or new
    require_key(root, settings, new.key)
    if request.retention and request.retention != settings.retention:
        raise UserError(
            f"{root}: was created with --retention {settings.retention}, not {request.retention}; "
            "fill another replay.buffer"
        )
    if (settings.retention == "loss") != (request.scores is not None):
        raise UserError("--scores FILE is needed by a buffer with --retention loss, and only by such a buffer")
    capacity, quotas = settings.capacity, dict(settings.quotas)
    if request.capacity:
        capacity = request.capacity.to_clips(bytes_per_clip)
    if request.quota:
        quotas |= dict.fromkeys(domains, request.quota.to_clips(bytes_per_clip))
    return replace(settings, capacity=capacity, quotas=quotas)


def _bytes_per_clip(root: Path, opener: SourceOpener, checkpoint: Path, scenes: Sequence[Scene]) -> int:
    """The size of the latents of a clip, the same for all clips of a buffer."""
    with suppress(UserError):  # no buffer yet, or an empty one
        buffer = open_persistent(root)
        return num_bytes_of(buffer.sample(buffer.domains[0], 0))
    return num_bytes_of(next(encode_scenes(opener, checkpoint, scenes[:1])))


def num_bytes_of(sample: LatentSample) -> int:
    return sum(tensor.nbytes for tensor in sample.tensors.values())


def _read_scores(path: Path, scenes: Sequence[Scene]) -> dict[str, float]:
    """Read scores by clip id from a JSON object. Raises UserError if a clip of ``scenes`` has none."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        scores = {str(clip_id): float(score) for clip_id, score in record.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f'{path}: is not a JSON object such as {{"<clip id>": 0.37}} ({error})') from error
    if missing := [scene.clip_id for scene in scenes if scene.clip_id not in scores]:
        raise UserError(f"{path}: has no score for {len(missing)} clips, the first is {missing[0]}")
    return scores
