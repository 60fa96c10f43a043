"""Labeled crops of simulated clips: worn as recordings and codecs wear them, and spoilt in random places as well."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from driveforge.datasets.scene import Clip
from driveforge.datasets.select_frames import select_clip_frames
from driveforge.datasets.webdataset_shards.format import roundtrip_clip
from driveforge.finetune.world_model.generator import WorldModelGenerator
from driveforge.finetune.world_model.sampler_settings import SamplerSettings
from driveforge.pipelines.studies.artifacts.latent_spoils import LATENT_SPOILS, spoil_latents
from driveforge.pipelines.studies.artifacts.places import sample_place
from driveforge.pipelines.studies.artifacts.regions import region_crops
from driveforge.pipelines.studies.artifacts.spoils import SPOILS, Frames, Place
from driveforge.pipelines.studies.validator.clips import GoodClip, make_clip
from driveforge.validation.learned.crops import Crop, object_crops
from driveforge.validation.views.boxes import project_boxes
from driveforge.validation.views.categories import is_person
from driveforge.validation.views.view import reference_view

NUM_FRAMES = 17  # what the shipped model generates
# One in three clips has a size of the validator study; the others have that of the shipped model.
ROWS = (96, 96, 128, 96, 96, 256)
GENERATED = "generated"
KINDS = ("", *SPOILS, *LATENT_SPOILS, GENERATED)
H264_SHARE = 0.6
MAX_PLACES = 3
# Root mean square change of a crop, in gray levels and in its contrast: visible from the first, not below the second.
VISIBLE, INVISIBLE = (5.0, 0.25), (1.0, 0.05)
# The same for generated crops, after a blur, since an edge or a shadow may be elsewhere. Only objects count as failed:
# a region may rightly show something else than the recording.
FAILED, CORRECT = (12.0, 0.8), (8.0, 0.4)
FAILED_BLUR = 0.02  # of the image's rows


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Examples:
    """Crops with labels: ``images`` and ``context`` as of ``Crop``, ``spoilt`` ``(N,)``, and the index in ``KINDS``.

    ``clip`` ``(N,)`` is the number of the simulated clip, ``is_object`` whether a crop shows an object.
    """

    images: NDArray[np.uint8]
    context: NDArray[np.float32]
    spoilt: NDArray[np.bool_]
    kind: NDArray[np.int64]
    clip: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.spoilt)

    def select(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> "Examples":
        return Examples(**{name: getattr(self, name)[chosen] for name in self.__dataclass_fields__})

    @staticmethod
    def join(parts: Sequence["Examples"]) -> "Examples":
        names = Examples.__dataclass_fields__
        return Examples(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Version:
    """A clip's ``frames``, those of the same clip that is only worn, and where which kind of failure was added."""

    frames: Frames
    worn: Frames
    places: tuple[tuple[str, Place], ...] = ()
    is_generated: bool = False


def make_examples(number: int, seed: int, generator: WorldModelGenerator, sampler: SamplerSettings | None) -> Examples:
    """The labeled crops of simulated clip ``number``; of its generated version too if ``sampler`` is given."""
    rng = np.random.default_rng((seed, number))
    good = GoodClip(number=number, rows=ROWS[number % len(ROWS)], seed=seed)
    clip = select_clip_frames(make_clip(good), np.arange(NUM_FRAMES))
    clip = Clip(scene=clip.scene, frames=_to_bytes(_wear(clip.frames[0].astype(np.float32), rng))[None])
    versions = list(_versions(clip, generator, rng))
    if sampler is not None and good.rows == 96:
        versions.append(_generated(clip, generator, sampler, number))
    return Examples.join([_label(clip, version, number, rng) for version in versions])


def _wear(frames: Frames, rng: np.random.Generator) -> Frames:
    """Recordings differ in sharpness, exposure and contrast, from the first frame to the last."""
    height, width = frames.shape[1:3]
    scale, gain, gamma = rng.choice([1.0, rng.uniform(0.55, 1.0)]), rng.uniform(0.8, 1.2), rng.uniform(0.85, 1.15)
    size = (round(width * scale), round(height * scale))
    small = [cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames]
    scaled = np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR) for frame in small])
    return np.asarray(255 * (scaled.clip(0, 255) / 255) ** gamma * gain, np.float32).clip(0, 255)


def _versions(clip: Clip, generator: WorldModelGenerator, rng: np.random.Generator) -> Iterator[Version]:
    codec = generator.model.codec
    plain = clip.frames[0].astype(np.float32)
    latents = codec.encode(torch.from_numpy(np.array(clip.frames)))
    coded = _decode(generator, latents)
    yield Version(frames=plain, worn=plain)
    yield Version(frames=coded, worn=coded)
    for frames in (plain, coded, coded):
        spoilt, places = _spoil(clip, frames, rng)
        yield Version(frames=spoilt, worn=frames, places=places)
    spoilt, places = _spoil(clip, plain, rng)
    recoded = _decode(generator, codec.encode(torch.from_numpy(_to_bytes(spoilt)[None])))
    yield Version(frames=recoded, worn=coded, places=places)
    spoilt_latents, places = _spoil_latents(clip, latents, rng)
    yield Version(frames=_decode(generator, spoilt_latents), worn=coded, places=places)


def _decode(generator: WorldModelGenerator, latents: torch.Tensor) -> Frames:
    return np.asarray(generator.model.codec.decode(latents).numpy()[0], np.float32)


def _spoil(clip: Clip, frames: Frames, rng: np.random.Generator) -> tuple[Frames, tuple[tuple[str, Place], ...]]:
    places = []
    for kind in rng.choice(list(SPOILS), int(rng.integers(1, MAX_PLACES + 1))):
        place = _sample_place(clip, rng)
        frames = SPOILS[kind](frames, place, rng).clip(0, 255)
        places.append((str(kind), place))
    return frames, tuple(places)


def _spoil_latents(
    clip: Clip, latents: torch.Tensor, rng: np.random.Generator
) -> tuple[torch.Tensor, tuple[tuple[str, Place], ...]]:
    places = []
    for kind in rng.choice(list(LATENT_SPOILS), int(rng.integers(1, MAX_PLACES + 1))):
        place = _sample_place(clip, rng)
        latents = spoil_latents(latents, place, str(kind), rng)
        places.append((str(kind), place))
    return latents, tuple(places)


def _sample_place(clip: Clip, rng: np.random.Generator) -> Place:
    view = reference_view(clip)
    return sample_place(view, project_boxes(view), rng)


def _generated(clip: Clip, generator: WorldModelGenerator, sampler: SamplerSettings, number: int) -> Version:
    """The clip as the shipped model generates it from the first frame; its failures are where it differs."""
    made = generator.generate(clip.scene, clip.frames[:, :1], seed=number, settings=sampler)
    coded = generator.reconstruct(clip)
    return Version(frames=made.frames[0].astype(np.float32), worn=coded.frames[0].astype(np.float32), is_generated=True)


def _label(clip: Clip, version: Version, number: int, rng: np.random.Generator) -> Examples:
    """The crops of a version that are clearly spoilt or clearly not."""
    shown = Clip(scene=clip.scene, frames=_to_bytes(version.frames)[None])
    view = reference_view(roundtrip_clip(shown) if rng.random() < H264_SHARE else shown)
    boxes = project_boxes(view)
    vehicles = [n for n, track in enumerate(view.tracks) if not is_person(track)]
    crops = [*(object_crops(view, boxes, vehicles) if boxes else []), *region_crops(view)]
    changes = np.array([_change(version, crop) for crop in crops])
    (clear, clear_share), (faint, faint_share) = (FAILED, CORRECT) if version.is_generated else (VISIBLE, INVISIBLE)
    spoilt = (changes[:, 0] >= clear) & (changes[:, 0] >= clear_share * changes[:, 1])
    intact = (changes[:, 0] <= faint) | (changes[:, 0] <= faint_share * changes[:, 1])
    if version.is_generated:
        spoilt &= np.array([crop.track is not None for crop in crops])
    kinds = [_kind(version, crop) if bad else 0 for crop, bad in zip(crops, spoilt, strict=True)]
    return Examples(
        images=np.stack([crop.image for crop in crops]),
        context=np.stack([crop.context for crop in crops]),
        spoilt=spoilt,
        kind=np.array(kinds),
        clip=np.full(len(crops), number),
    ).select(spoilt | intact)


def _change(version: Version, crop: Crop) -> tuple[float, float]:
    """Root mean square of the change in a crop, and the contrast of the crop without it, gray levels."""
    x0, y0, x1, y1 = crop.window
    part = (crop.frame, slice(y0, y1), slice(x0, x1))
    change, worn = version.frames[part] - version.worn[part], version.worn[part]
    if version.is_generated:
        sigma = FAILED_BLUR * version.frames.shape[1]
        change, worn = (cv2.GaussianBlur(image, (0, 0), sigma) for image in (change, worn))
    visible = cv2.resize(crop.image[9], (x1 - x0, y1 - y0), interpolation=cv2.INTER_NEAREST) > 0
    if not visible.any():
        return 0.0, 1.0
    return float(np.sqrt((change[visible] ** 2).mean())), float(max(worn[visible].std(), 12.0))


def _kind(version: Version, crop: Crop) -> int:
    """The kind that is strongest in the crop, as an index in ``KINDS``."""
    if version.is_generated:
        return KINDS.index(GENERATED)
    x0, y0, x1, y1 = crop.window
    shares = [
        (place.mask[crop.frame, y0:y1, x0:x1].mean() * place.strength[crop.frame], kind)
        for kind, place in version.places
    ]
    return KINDS.index(max(shares, key=lambda share: share[0])[1])


def _to_bytes(frames: Frames) -> NDArray[np.uint8]:
    return frames.round().clip(0, 255).astype(np.uint8)
