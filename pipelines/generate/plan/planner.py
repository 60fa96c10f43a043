"""Planned requests from scenes x edits x seeds, one after another in bounded memory."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from driveforge.datasets.edits import Edit, EditNotApplicable, edit_scene, edit_text
from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Scene
from driveforge.datasets.scene_json import scene_to_json
from driveforge.finetune.world_model.sampler_settings import SamplerSettings
from driveforge.pipelines.generate.edits import parse_edit
from driveforge.pipelines.generate.plan.hash_set import HashSet
from driveforge.pipelines.generate.plan.order import iter_pairs, make_cells
from driveforge.pipelines.generate.requests import (
    PlannedRequest,
    Request,
    canonical_json,
    derive_seed,
    settings_to_json,
)
from driveforge.pipelines.generate.settings import GenerateSettings

# Edited scenes whose hashes are kept in memory; others are edited again when their turn comes.
_CACHED = 1 << 14


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EditedScene:
    """A scene after an edit: ``name`` is that of the stored scene; ``recorded`` is the clip id before the edit."""

    name: str
    clip_id: str
    recorded: str
    split: str
    caption: str
    edit: str
    first_frames: str
    settings: SamplerSettings
    # Hash of the canonical JSON of its requests up to the seed, and the JSON after it.
    hash_start: Any = field(repr=False)
    json_end: bytes = field(repr=False)

    def request_id(self, seed: int) -> str:
        """That of ``Request.id`` for the clip id before its suffix."""
        digest = self.hash_start.copy()
        digest.update(str(seed).encode() + self.json_end)
        return str(digest.hexdigest()[:32])


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneInputs:
    """What a plan takes from a data set.

    ``store_first_frames(scene)`` stores the first frames of a recorded scene and returns their name; it is called only
    for edits that keep the first frame. ``refusal(scene)`` is the reason why nothing is generated from a scene, or "".
    ``store_scene(scene, content)`` stores an edited scene, whose canonical JSON is ``content``, and returns its name.
    """

    store_first_frames: Callable[[Scene], str]
    store_scene: Callable[[Scene, bytes], str]
    refusal: Callable[[Scene], str] = lambda scene: ""


def plan_entries(
    scenes: Sequence[Scene], inputs: SceneInputs, settings: GenerateSettings, model: str
) -> Iterator[tuple[PlannedRequest, EditedScene]]:
    """``settings.num_clips`` requests over scenes and edits in turn, each with a seed derived from its number.

    No clip id repeats: where one would, the request gets another seed.
    """
    edits = [parse_edit(text) for text in settings.edits]
    if not scenes:
        raise UserError("there is no scene to generate from: the data source is empty")
    if not edits:
        raise UserError("generate.edits is empty; add an edit, such as as-recorded")

    @lru_cache(_CACHED)
    def edited(scene_number: int, edit_number: int) -> EditedScene | str:
        scene = scenes[scene_number]
        try:
            return inputs.refusal(scene) or _edit(scene, edits[edit_number], inputs, settings, model)
        except EditNotApplicable as refusal:
            names = ", ".join(map(edit_text, edits))
            return f"no scene supports any of the edits {names}; for example {refusal}"

    def refusal(scene_number: int, edit_number: int) -> str:
        found = edited(scene_number, edit_number)
        return found if isinstance(found, str) else ""

    clip_ids = HashSet()
    pairs = iter_pairs(make_cells(scenes, settings.balance), len(edits), refusal)
    for number, pair in zip(range(settings.num_clips), pairs, strict=False):
        found = edited(*pair)
        assert isinstance(found, EditedScene)
        yield _plan(found, settings.seed, number, model, clip_ids), found


def plan_requests(
    scenes: Sequence[Scene], first_frames: Callable[[Scene], str], settings: GenerateSettings, model: str
) -> list[Request]:
    """The requests of ``plan_entries`` with their scenes, in memory."""
    kept: dict[str, Scene] = {}

    def keep(scene: Scene, content: bytes) -> str:
        name = hashlib.sha256(content).hexdigest()
        kept[name] = scene
        return name

    inputs = SceneInputs(store_first_frames=first_frames, store_scene=keep)
    return [planned.with_scene(kept[planned.scene]) for planned, _ in plan_entries(scenes, inputs, settings, model)]


def _edit(scene: Scene, edit: Edit, inputs: SceneInputs, settings: GenerateSettings, model: str) -> EditedScene:
    # Poses past the end of a recording are commanded like all others, so no frame counts as padding.
    changed = replace(edit_scene(scene, edit), held_frames=0)
    keeps_first_frame = edit.keeps_first_frame and settings.num_first_frames > 0
    first_frames = inputs.store_first_frames(scene) if keeps_first_frame else ""
    sampler = settings.sampler if keeps_first_frame else settings.sampler_without_frame
    content = canonical_json(scene_to_json(changed))
    # The keys of a request's canonical JSON are in this order.
    start = canonical_json({"edit": edit_text(edit), "first_frames": first_frames, "model": model})
    return EditedScene(
        name=inputs.store_scene(changed, content),
        clip_id=changed.clip_id,
        recorded=scene.clip_id,
        split=scene.split,
        caption=changed.caption,
        edit=edit_text(edit),
        first_frames=first_frames,
        settings=sampler,
        hash_start=hashlib.sha256(start[:-1] + b',"scene":' + content + b',"seed":'),
        json_end=b',"settings":' + canonical_json(settings_to_json(sampler)) + b"}",
    )


def _plan(edited: EditedScene, seed: int, number: int, model: str, clip_ids: HashSet) -> PlannedRequest:
    attempt = 0
    while True:
        own_seed = derive_seed(f"{seed}:{number}:{attempt}" if attempt else f"{seed}:{number}")
        clip_id = f"{edited.clip_id}-{edited.request_id(own_seed)[:8]}"
        if clip_ids.add(clip_id):
            break
        attempt += 1
    return PlannedRequest(
        clip_id=clip_id,
        scene=edited.name,
        edit=edited.edit,
        seed=own_seed,
        model=model,
        first_frames=edited.first_frames,
        settings=edited.settings,
    )
