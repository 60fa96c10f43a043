"""Features of sets of clips: extractors, and the properties that must agree before sets are compared."""

import ast
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np

from driveforge.datasets.errors import UserError
from driveforge.datasets.geometry import Array
from driveforge.datasets.scene import Clip
from driveforge.validation.set_metrics.protocol import SetProtocol, require_same_protocol
from driveforge.validation.views.view import without_held_frames

RATE_TOLERANCE = 0.1  # of the set's median: recorded clocks jitter


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Extractor:
    """``embed`` maps a clip to its samples ``(S, D)``: a single row, or one per frame.

    ``hash`` covers everything that determines the features: the code (``code_hash``) or the weights (``files_hash``).
    """

    name: str
    hash: str
    embed: Callable[[Clip], Array]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FeatureSet:
    """The features ``values`` ``(N, S, D)`` of ``N`` clips, with the format of the clips."""

    extractor: str
    extractor_hash: str
    clip_ids: tuple[str, ...]
    values: Array
    num_frames: int
    frame_rate: float
    height: int
    width: int

    def __len__(self) -> int:
        return len(self.values)

    def protocol(self, measure: str, *, reference: str = "", seed: int = 0) -> SetProtocol:
        return SetProtocol(
            measure=measure,
            extractor=self.extractor,
            extractor_hash=self.extractor_hash,
            reference=reference,
            num_clips=len(self),
            num_frames=self.num_frames,
            frame_rate=self.frame_rate,
            height=self.height,
            width=self.width,
            seed=seed,
        )

    def digest(self) -> str:
        """A hash of the clip ids, independent of their order."""
        return hashlib.sha256("\n".join(sorted(self.clip_ids)).encode()).hexdigest()[:12]


def embed_clips(clips: Iterable[Clip], extractor: Extractor) -> FeatureSet:
    """The features of a set of clips, with one clip in memory at a time.

    Raises UserError if clips differ in length, rate or size, if a clip occurs twice, if there are none, or if a feature
    is not finite: no clip is left out silently.
    """
    ids, shapes, rates, values = [], [], [], []
    for clip in clips:
        scene = without_held_frames(clip.scene)
        features = np.asarray(extractor.embed(clip), np.float64)
        if features.ndim != 2 or not np.isfinite(features).all():
            raise UserError(
                f"{scene.clip_id}: {extractor.name} must return finite features of shape (samples, dimensions), got "
                f"{features.shape}{'' if np.isfinite(features).all() else ' with NaN or infinity'}; remove the clip"
            )
        ids.append(scene.clip_id)
        shapes.append((scene.num_frames, scene.cameras[0].height, scene.cameras[0].width, *features.shape))
        rates.append(scene.frame_rate)
        values.append(features)
    _require_uniform(extractor.name, ids, shapes, rates)
    num_frames, height, width = shapes[0][:3]
    return FeatureSet(
        extractor=extractor.name,
        extractor_hash=extractor.hash,
        clip_ids=tuple(ids),
        values=np.stack(values),
        num_frames=num_frames,
        frame_rate=round(2 * float(np.median(rates))) / 2,
        height=height,
        width=width,
    )


def require_comparable(reference: FeatureSet, other: FeatureSet, measure: str) -> None:
    """Raises UserError if two sets differ in anything but their clips, for example in their number."""
    require_same_protocol(reference.protocol(measure), other.protocol(measure))


def code_hash(*modules: ModuleType) -> str:
    """A hash of the code of ``modules``, without comments and layout, and of the version of OpenCV."""
    digest = hashlib.sha256(cv2.__version__.encode())
    for module in modules:
        digest.update(ast.unparse(ast.parse(Path(module.__file__ or "").read_bytes())).encode())
    return digest.hexdigest()[:12]


def files_hash(*paths: Path) -> str:
    """A hash of the names and contents of files."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]


def _require_uniform(extractor: str, ids: list[str], shapes: list[tuple[int, ...]], rates: list[float]) -> None:
    if not ids:
        raise UserError(f"{extractor}: there are no clips in the set")
    for clip_id, shape in zip(ids, shapes, strict=True):
        if shape != shapes[0]:
            (frames, height, width), (frames_0, height_0, width_0) = shape[:3], shapes[0][:3]
            raise UserError(
                f"{clip_id} has {frames} frames of {width} x {height} px, {ids[0]} has {frames_0} of "
                f"{width_0} x {height_0}: cut and resize all clips of a set to the same format"
            )
    median_rate = float(np.median(rates))
    for clip_id, rate in zip(ids, rates, strict=True):
        if abs(rate - median_rate) > RATE_TOLERANCE * median_rate:
            raise UserError(
                f"{clip_id} has {rate:.2f} frames per second, the set {median_rate:.2f}: resample to one rate"
            )
    if len(set(ids)) < len(ids):
        duplicate = next(clip_id for clip_id in ids if ids.count(clip_id) > 1)
        raise UserError(f"{duplicate} is in the set twice: each clip may occur once")
