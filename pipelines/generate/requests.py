"""Requests: one clip each, identified by a hash of everything that determines the result.

A plan holds planned requests. Their edited scenes and first frames are stored once, in files named after their content.
"""

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.files.atomic import write_atomic
from driveforge.datasets.files.json_record import parse_json
from driveforge.datasets.scene import Scene
from driveforge.datasets.scene_json import scene_from_json, scene_to_json
from driveforge.finetune.world_model.sampler_settings import SamplerSettings

# Folders of the first frames and of the edited scenes of requests, in files named after their content.
FIRST_FRAMES_FOLDER = "first_frames"
SCENES_FOLDER = "scenes"
# The default settings of rollouts, which records leave out.
_ROLLOUT = {"chunk_frames": None, "overlap_frames": 5, "context_noise": 0.0, "anchor_share": None}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Request:
    """One clip to generate. ``model`` is the generator's digest, ``first_frames`` the name of stored frames or "".

    A further ``attempt`` at a request of which no clip was accepted names the clip of the first, ``attempt_of``.
    """

    scene: Scene
    seed: int
    model: str
    settings: SamplerSettings
    edit: str
    first_frames: str = ""
    attempt: int = 1
    attempt_of: str = ""

    @property
    def id(self) -> str:
        """32 hex digits; two requests are equal if and only if their ids are."""
        return hashlib.sha256(canonical_json(request_to_json(self))).hexdigest()[:32]


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedRequest:
    """A request of a plan, whose edited ``scene`` is the name of a stored one."""

    clip_id: str
    scene: str
    edit: str
    seed: int
    model: str
    first_frames: str
    settings: SamplerSettings
    attempt: int = 1
    attempt_of: str = ""

    def load(self, root: Path) -> Request:
        """The request, with its scene from the folder ``root`` of the plan."""
        return self.with_scene(load_scene(root / SCENES_FOLDER, self.scene))

    def with_scene(self, scene: Scene) -> Request:
        return Request(
            scene=replace(scene, clip_id=self.clip_id),
            seed=self.seed,
            model=self.model,
            settings=self.settings,
            edit=self.edit,
            first_frames=self.first_frames,
            attempt=self.attempt,
            attempt_of=self.attempt_of,
        )


def derive_seed(text: str) -> int:
    """A 31-bit seed, a pure function of ``text``."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def canonical_json(record: object) -> bytes:
    """Canonical JSON: sorted keys, no whitespace, floats at full precision, no NaN."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def request_to_json(request: Request) -> dict[str, Any]:
    return {
        "scene": scene_to_json(request.scene),
        "seed": request.seed,
        "model": request.model,
        "settings": settings_to_json(request.settings),
        "edit": request.edit,
        "first_frames": request.first_frames,
        **_attempt_to_json(request),
    }


def _attempt_to_json(request: Request | PlannedRequest) -> dict[str, Any]:
    """Nothing for a first attempt, whose id is as it was before there were others."""
    return {"attempt": request.attempt, "attempt_of": request.attempt_of} if request.attempt > 1 else {}


def planned_to_json(planned: PlannedRequest, settings: Sequence[SamplerSettings]) -> dict[str, Any]:
    """``planned`` for its unit's record, which lists the ``settings`` of all of its requests once."""
    return {
        "clip_id": planned.clip_id,
        "scene": planned.scene,
        "edit": planned.edit,
        "seed": planned.seed,
        "model": planned.model,
        "first_frames": planned.first_frames,
        "settings": settings.index(planned.settings),
        **_attempt_to_json(planned),
    }


def planned_from_json(record: dict[str, Any], settings: Sequence[SamplerSettings], where: str = "") -> PlannedRequest:
    """Parse a planned request; raises UserError that names ``where`` if a field is missing or wrong."""
    texts = ("clip_id", "scene", "edit", "model", "first_frames")
    with _name_errors(where):
        if not all(isinstance(record[name], str) for name in texts):
            raise TypeError(f"{', '.join(texts)} must be text")
        return PlannedRequest(
            **{name: record[name] for name in texts},
            seed=int(record["seed"]),
            settings=settings[int(record["settings"])],
            attempt=int(record.get("attempt", 1)),
            attempt_of=str(record.get("attempt_of", "")),
        )


def request_from_json(record: dict[str, Any], where: str = "") -> Request:
    """Parse a request; raises UserError that names ``where`` if a field is missing or wrong."""
    with _name_errors(where):
        return Request(
            scene=scene_from_json(record["scene"], where),
            seed=int(record["seed"]),
            model=record["model"],
            settings=_settings_from_json(record["settings"]),
            edit=record["edit"],
            first_frames=record["first_frames"],
        )


def settings_to_json(settings: SamplerSettings) -> dict[str, Any]:
    """``settings`` without the default rollout, so that ids are those of before there was any."""
    record = asdict(settings)
    return {name: value for name, value in record.items() if name not in _ROLLOUT or value != _ROLLOUT[name]}


def settings_from_json(record: dict[str, Any], where: str = "") -> SamplerSettings:
    with _name_errors(where):
        return _settings_from_json(record)


def _settings_from_json(record: dict[str, Any]) -> SamplerSettings:
    return SamplerSettings(**{**_ROLLOUT, **record, "sigmas": tuple(record["sigmas"])})


@contextmanager
def _name_errors(where: str) -> Iterator[None]:
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{where}: is not a request: {shorten(repr(error))}") from error


def store_first_frames(folder: Path, frames: NDArray[np.uint8]) -> str:
    """Store ``frames`` ``(V, F, H, W, 3)`` in ``folder`` under a name derived from their content; returns the name."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(frames), allow_pickle=False)
    return _store(folder, buffer.getvalue(), ".npy")


def load_first_frames(folder: Path, name: str) -> NDArray[np.uint8] | None:
    """The frames ``(V, F, H, W, 3)`` stored under ``name``; None if the name is empty."""
    if not name:
        return None
    return np.asarray(np.load(io.BytesIO(_load(folder / name)), allow_pickle=False))


def store_scene(folder: Path, content: bytes) -> str:
    """Store the canonical JSON of a scene in ``folder`` under a name derived from it; returns the name."""
    return _store(folder, content, ".json")


def load_scene(folder: Path, name: str) -> Scene:
    """The scene stored under ``name``."""
    path = folder / name
    return scene_from_json(parse_json(_load(path), str(path)), str(path))


def is_intact(path: Path) -> bool:
    """Whether ``path`` has the content that its name is derived from."""
    return path.is_file() and _content_name(path.read_bytes(), path.suffix) == path.name


def _store(folder: Path, content: bytes, suffix: str) -> str:
    path = folder / _content_name(content, suffix)
    if not is_intact(path):
        write_atomic(path, content)
    return path.name


def _load(path: Path) -> bytes:
    content = path.read_bytes() if path.is_file() else b""
    if _content_name(content, path.suffix) != path.name:
        problem = "is damaged" if content else "is missing"
        raise UserError(f"{path} {problem}: run `driveforge generate` to store the inputs of the plan again")
    return content


def _content_name(content: bytes, suffix: str) -> str:
    return f"{hashlib.sha256(content).hexdigest()[:32]}{suffix}"
