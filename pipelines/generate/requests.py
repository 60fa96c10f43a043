"""Requests: one clip each, identified by a hash of everything that determines the result."""

import hashlib
import io
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.edits import Edit, EditNotApplicable, edit_scene, edit_text
from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.files.atomic import write_atomic
from driveforge.datasets.scene import Scene
from driveforge.datasets.scene_json import scene_from_json, scene_to_json
from driveforge.finetune.world_model.sampler_settings import SamplerSettings
from driveforge.pipelines.generate.edits import parse_edit
from driveforge.pipelines.generate.settings import GenerateSettings

# Folder of the first frames of requests, in files named after their content.
FIRST_FRAMES_FOLDER = "first_frames"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Request:
    """One clip to generate. ``model`` is the generator's digest, ``first_frames`` the name of stored frames or ""."""

    scene: Scene
    seed: int
    model: str
    settings: SamplerSettings
    edit: str
    first_frames: str = ""

    @property
    def id(self) -> str:
        """32 hex digits; two requests are equal if and only if their ids are."""
        return hashlib.sha256(canonical_json(request_to_json(self))).hexdigest()[:32]


def canonical_json(record: object) -> bytes:
    """Canonical JSON: sorted keys, no whitespace, floats at full precision, no NaN."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def request_to_json(request: Request) -> dict[str, Any]:
    return {
        "scene": scene_to_json(request.scene),
        "seed": request.seed,
        "model": request.model,
        "settings": asdict(request.settings),
        "edit": request.edit,
        "first_frames": request.first_frames,
    }


def request_from_json(record: dict[str, Any], where: str = "") -> Request:
    """Parse a request; raises UserError that names ``where`` if a field is missing or wrong."""
    try:
        settings = SamplerSettings(**{**record["settings"], "sigmas": tuple(record["settings"]["sigmas"])})
        return Request(
            scene=scene_from_json(record["scene"], where),
            seed=int(record["seed"]),
            model=record["model"],
            settings=settings,
            edit=record["edit"],
            first_frames=record["first_frames"],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{where}: is not a request: {shorten(repr(error))}") from error


def plan_requests(
    scenes: Sequence[Scene], first_frames: Callable[[Scene], str], settings: GenerateSettings, model: str
) -> list[Request]:
    """``settings.num_clips`` requests over scenes and edits in turn, each with a seed derived from its number.

    ``first_frames`` stores the first frames of a recorded scene and returns their name; it is called only for edits
    that keep the first frame.
    """
    requests: list[Request] = []
    edits = [parse_edit(text) for text in settings.edits]
    choices = _edited_scenes(scenes, edits)
    for number, (scene, edit, edited) in zip(range(settings.num_clips), choices, strict=False):
        keeps_first_frame = edit.keeps_first_frame and settings.num_first_frames > 0
        request = Request(
            # Poses past the end of a recording are commanded like all others, so no frame counts as padding.
            scene=replace(edited, held_frames=0),
            seed=_derive_seed(settings.seed, number),
            model=model,
            settings=settings.sampler if keeps_first_frame else settings.sampler_without_frame,
            edit=edit_text(edit),
            first_frames=first_frames(scene) if keeps_first_frame else "",
        )
        clip_id = f"{request.scene.clip_id}-{request.id[:8]}"
        requests.append(replace(request, scene=replace(request.scene, clip_id=clip_id)))
    return requests


def _edited_scenes(scenes: Sequence[Scene], edits: Sequence[Edit]) -> Iterator[tuple[Scene, Edit, Scene]]:
    """Endless (scene, edit, edited scene), spread over the scenes; each pass pairs a scene with another edit.

    In pass ``turn``, the scene at position ``place`` of the spread order gets edit number ``place + turn``.
    """
    if not scenes:
        raise UserError("there is no scene to generate from: the data source is empty")
    if not edits:
        raise UserError("generate.edits is empty; add an edit, such as as-recorded")
    while True:
        refusals = []
        for turn in range(len(edits)):
            for place, number in enumerate(_spread_order(len(scenes))):
                scene, edit = scenes[number], edits[(place + turn) % len(edits)]
                try:
                    yield scene, edit, edit_scene(scene, edit)
                except EditNotApplicable as refusal:
                    refusals.append(str(refusal))
        if len(refusals) == len(scenes) * len(edits):
            names = ", ".join(map(edit_text, edits))
            raise UserError(f"no scene supports any of the edits {names}; for example {refusals[0]}")


def _spread_order(count: int) -> list[int]:
    """A permutation of 0..count-1 whose every prefix is spread evenly.

    It steps by about the golden ratio conjugate of ``count``, made coprime to ``count`` so that no index repeats.
    """
    stride = max(1, round(count * 0.618))
    while math.gcd(stride, count) != 1:
        stride += 1
    return [place * stride % count for place in range(count)]


def _derive_seed(seed: int, number: int) -> int:
    """A 31-bit seed, a pure function of both arguments."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{number}".encode()).digest()[:4], "big") >> 1


def store_first_frames(folder: Path, frames: NDArray[np.uint8]) -> str:
    """Store ``frames`` ``(V, F, H, W, 3)`` in ``folder`` under a name derived from their content; returns the name."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(frames), allow_pickle=False)
    name = _content_name(buffer.getvalue())
    if not (folder / name).is_file() or _content_name((folder / name).read_bytes()) != name:
        write_atomic(folder / name, buffer.getvalue())
    return name


def load_first_frames(folder: Path, name: str) -> NDArray[np.uint8] | None:
    """The frames ``(V, F, H, W, 3)`` stored under ``name``; None if the name is empty."""
    if not name:
        return None
    path = folder / name
    content = path.read_bytes() if path.is_file() else b""
    if _content_name(content) != name:
        problem = "is damaged" if content else "is missing"
        raise UserError(f"{path} {problem}: run `driveforge generate` to store the first frames of the plan again")
    return np.asarray(np.load(io.BytesIO(content), allow_pickle=False))


def _content_name(content: bytes) -> str:
    return f"{hashlib.sha256(content).hexdigest()[:32]}.npy"
