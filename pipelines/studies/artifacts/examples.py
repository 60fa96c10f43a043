"""Labeled crops of simulated clips: each with how much of its structure is damaged."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.scene import Clip
from driveforge.datasets.webdataset_shards.format import roundtrip_clip
from driveforge.finetune.world_model.generator import WorldModelGenerator
from driveforge.pipelines.studies.artifacts.damage import compare, damage
from driveforge.pipelines.studies.artifacts.regions import region_crops
from driveforge.pipelines.studies.artifacts.versions import Version, make_versions, to_bytes
from driveforge.validation.learned.crops import Crop, object_crops
from driveforge.validation.views.boxes import project_boxes
from driveforge.validation.views.categories import is_person
from driveforge.validation.views.view import reference_view

SPOILT, GENERATED = "spoilt", "generated"
KINDS = ("", SPOILT, GENERATED)
H264_SHARE = 0.6


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Examples:
    """Crops ``images`` and ``context`` as of ``Crop``, with their ``damage`` ``(N,)`` 0..1 and its index in ``KINDS``.

    ``clip`` ``(N,)`` is the number of the simulated clip.
    """

    images: NDArray[np.uint8]
    context: NDArray[np.float32]
    damage: NDArray[np.float32]
    kind: NDArray[np.int64]
    clip: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.damage)

    def select(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> "Examples":
        return Examples(**{name: getattr(self, name)[chosen] for name in self.__dataclass_fields__})

    @staticmethod
    def join(parts: Sequence["Examples"]) -> "Examples":
        names = Examples.__dataclass_fields__
        return Examples(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def make_examples(number: int, seed: int, generator: WorldModelGenerator) -> Examples:
    """The labeled crops of all versions of simulated clip ``number``."""
    rng = np.random.default_rng((seed, number))
    clip, versions = make_versions(number, seed, generator, rng)
    return Examples.join([label_version(clip, version, number, rng) for version in versions])


def label_version(clip: Clip, version: Version, number: int, rng: np.random.Generator) -> Examples:
    """The crops of a ``version`` of simulated clip ``number`` with their damage."""
    shown = Clip(scene=clip.scene, frames=to_bytes(version.frames)[None])
    view = reference_view(roundtrip_clip(shown) if rng.random() < H264_SHARE else shown)
    boxes = project_boxes(view)
    vehicles = [n for n, track in enumerate(view.tracks) if not is_person(track)]
    crops = [*(object_crops(view, boxes, vehicles) if boxes else []), *region_crops(view)]
    maps = {t: compare(version.frames[t], version.worn[t]) for t in {crop.frame for crop in crops}}
    return Examples(
        images=np.stack([crop.image for crop in crops]),
        context=np.stack([crop.context for crop in crops]),
        damage=np.array([damage(maps[crop.frame], crop) for crop in crops], np.float32),
        kind=np.array([_kind(version, crop) for crop in crops]),
        clip=np.full(len(crops), number),
    )


def _kind(version: Version, crop: Crop) -> int:
    """Whether the crop is generated, spoilt in some place, or neither, as an index in ``KINDS``."""
    if version.is_generated:
        return KINDS.index(GENERATED)
    x0, y0, x1, y1 = crop.window
    masks = (place.strength[crop.frame] * place.mask[crop.frame, y0:y1, x0:x1] for place in version.places)
    return KINDS.index(SPOILT if any(mask.any() for mask in masks) else "")
