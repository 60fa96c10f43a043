"""Labeled images to train the detector on: single frames of simulated drives, degraded like recorded or generated ones.

Road, rig, weather, light and compression vary. Labels are the boxes of objects that are visible enough to be annotated.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.domains import WEATHER_VARIANTS, driving_domain
from driveforge.datasets.files.atomic import atomic_file
from driveforge.datasets.geometry import Array
from driveforge.datasets.progress import track
from driveforge.datasets.scene import Clip, Scene
from driveforge.datasets.select_frames import select_clip_frames, select_frames
from driveforge.datasets.simulation.driving import build_driving_world
from driveforge.datasets.simulation.renderer import Renderer
from driveforge.datasets.simulation.rigs import CAMERA_MOUNTS, mount_cameras, randomize_cameras
from driveforge.datasets.simulation.scenarios import CLOSE_SCENARIOS, SCENARIOS
from driveforge.datasets.simulation.world_to_scene import world_to_scene
from driveforge.datasets.webdataset_shards.format import roundtrip_clip
from driveforge.pipelines.generate.generator import Generator, load_generator
from driveforge.pipelines.processes.parallel import parallel_map
from driveforge.pipelines.registry.models import BASE
from driveforge.pipelines.studies.validator.clips import FRAME_RATE, NUM_FRAMES, WIDTHS, as_annotated
from driveforge.validation.degradations.sensor import as_night, as_noisy, degrade, sample_degradation
from driveforge.validation.views.boxes import project_boxes
from driveforge.validation.views.categories import is_person
from driveforge.validation.views.view import list_views

VEHICLE, PERSON = 0, 1
FRAMES_PER_WORLD = 4
SIZES = (256, 128)  # rows
FRONT_SHARE = 0.6  # of the images; the others are from any camera of the rig
NIGHT_SHARE, NOISY_SHARE = 0.2, 0.15
VAE_SHARE, VIDEO_SHARE = 0.25, 0.5
MIN_BOX_SHARE = 0.02  # of the image's rows: a smaller box is not labeled
JPEG_QUALITY = 97  # of stored images


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LabeledImage:
    """``image`` ``(H, W, 3)`` uint8 RGB; ``boxes`` ``(N, 4)`` x0, y0, x1, y1 px, within it, ``labels`` ``(N,)``."""

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]


def load_images(folder: Path, seed: int, worlds: int) -> list[LabeledImage]:
    """The images of drives 0 to ``worlds`` - 1, read from ``folder``; missing ones are rendered and stored there."""
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(folder / f"{seed}-{number}-{rows}.npz", seed, number, rows) for number in range(worlds) for rows in SIZES]
    missing = [job for job in jobs if not job[0].is_file()]
    for _ in track(parallel_map(_store, missing), "Rendering", len(missing), disable=not missing):
        pass
    return [image for path, *_ in jobs for image in _read(path)]


def _store(job: tuple[Path, int, int, int]) -> None:
    path, seed, number, rows = job
    images = make_images(seed, number, rows)
    arrays: dict[str, NDArray[np.generic]] = {}
    for i, one in enumerate(images):
        _, packed = cv2.imencode(".jpg", one.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        arrays |= {f"image{i}": packed, f"boxes{i}": one.boxes, f"labels{i}": one.labels}
    with atomic_file(path) as file:
        np.savez(file, **arrays)


def _read(path: Path) -> Iterator[LabeledImage]:
    with np.load(path, allow_pickle=False) as arrays:
        for i in range(FRAMES_PER_WORLD):
            image = cv2.imdecode(arrays[f"image{i}"], cv2.IMREAD_COLOR)[..., ::-1]
            yield LabeledImage(image=image, boxes=arrays[f"boxes{i}"], labels=arrays[f"labels{i}"])


def make_images(seed: int, number: int, rows: int) -> list[LabeledImage]:
    """Frames of drive ``number`` at evenly spaced times; a pure function of the arguments."""
    rng = np.random.default_rng((seed, number, rows))
    variant = WEATHER_VARIANTS[int(rng.integers(len(WEATHER_VARIANTS)))]
    scenarios = (*SCENARIOS, *CLOSE_SCENARIOS)
    scenario = scenarios[int(rng.integers(len(scenarios)))]
    world = build_driving_world(variant, scenario, int(rng.integers(2**31)), np.arange(NUM_FRAMES) / FRAME_RATE)
    name = "CAM_FRONT" if rng.random() < FRONT_SHARE else str(rng.choice(list(CAMERA_MOUNTS)))
    cameras = mount_cameras((name,), rows, WIDTHS[rows])
    if rng.random() < 0.5:
        cameras = randomize_cameras(cameras, rng)
    renderer = Renderer(world)
    scene = world_to_scene(world, cameras, clip_id=f"detector-{number}", domain=driving_domain(variant), split="train")
    chosen = np.linspace(0, NUM_FRAMES - 1, FRAMES_PER_WORLD).round().astype(np.int64)
    frames = np.array([[renderer.render(int(t), cameras[0]) for t in chosen]])
    annotated = select_frames(as_annotated(scene, renderer), chosen)
    clip = _degraded(Clip(scene=annotated, frames=frames), rng)
    return [
        LabeledImage(image=clip.frames[0, i], boxes=boxes, labels=labels)
        for i, (boxes, labels) in enumerate(visible_boxes(annotated, clip.frames))
    ]


def _degraded(clip: Clip, rng: np.random.Generator) -> Clip:
    """The frames after a sensor and, for some, after the shipped VAE and H.264."""
    degradation, kind = sample_degradation(rng), rng.random()
    if kind < NIGHT_SHARE:
        degradation = as_night(degradation)
    elif kind < NIGHT_SHARE + NOISY_SHARE:
        degradation = as_noisy(degradation)
    clip = degrade(clip, degradation, int(rng.integers(2**31)))
    if rng.random() < VAE_SHARE:
        # One by one, since the frames are too far apart for the VAE's compression over time.
        singles = [select_clip_frames(clip, np.array([t])) for t in range(clip.scene.num_frames)]
        encoded = [_shipped_model().reconstruct(single).frames for single in singles]
        clip = Clip(scene=clip.scene, frames=np.concatenate(encoded, 1))
    return roundtrip_clip(clip) if rng.random() < VIDEO_SHARE else clip


@lru_cache(maxsize=1)
def _shipped_model() -> Generator:
    return load_generator(BASE)


def visible_boxes(scene: Scene, frames: NDArray[np.uint8]) -> list[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """Boxes ``(N, 4)`` px within the image and labels ``(N,)`` of each frame of the first camera."""
    (view,) = list_views(Clip(scene=scene, frames=frames))
    boxes = project_boxes(view)
    if boxes is None:
        return [(np.zeros((0, 4), np.float32), np.zeros(0, np.int64))] * view.num_frames
    labels = np.array([PERSON if is_person(one) else VEHICLE for one in scene.tracks], np.int64)
    rows, columns = view.gray.shape[1:]
    inside = np.clip(boxes.rectangle, 0, np.array([columns, rows] * 2) - 1.0)
    large = _is_labeled(inside, rows)
    return [(inside[t, large[t]].astype(np.float32), labels[large[t]]) for t in range(view.num_frames)]


def _is_labeled(inside: Array, rows: int) -> NDArray[np.bool_]:
    extent = inside[..., 2:] - inside[..., :2]
    return np.asarray((extent.min(-1) > 1.0) & (extent.max(-1) > MIN_BOX_SHARE * rows))


def count_boxes(images: Sequence[LabeledImage]) -> dict[str, int]:
    """How many images and boxes there are, for the recipe."""
    labels = np.concatenate([one.labels for one in images])
    return {
        "images": len(images),
        "vehicles": int((labels == VEHICLE).sum()),
        "people": int((labels == PERSON).sum()),
    }
