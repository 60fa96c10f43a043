"""Named numbers of one clip, each *measured* or *unmeasurable* and why, and the two ways to make one from samples."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.json_record import validate_record
from driveforge.validation.catalog import DEFINITIONS
from driveforge.validation.covariates import ClipCovariates

# The tracker that needs no weights.
LUCAS_KANADE = "lucas_kanade"

# Why a measure may be missing through no fault of the clip: what was commanded leaves nothing to measure.
NO_POSE = "no pose"
NO_INTRINSICS = "no intrinsics"
STATIONARY_EGO = "stationary ego"
MOVING_EGO = "moving ego"
NO_BOXES = "no boxes in view"
SMALL_BOXES = "boxes too small or too briefly in view"
NO_PARKED_BOXES = "no parked boxes in view"
NO_CAMERA_HEIGHT = "height of the camera above the ground unknown"
CAMERA_NOT_ALONG_ROAD = "camera does not look along the road"
ROAD_HIDDEN = "road out of view or behind boxes"
ONE_CAMERA = "one camera"
NO_OVERLAP = "cameras do not overlap"
NO_POSE_NETWORK = "no pose network given"
NO_COLMAP_CHECK = "no COLMAP check requested"
TOO_FEW_ROWS = "too few rows for a COLMAP check"
NOT_APPLICABLE_REASONS = (
    NO_POSE,
    NO_INTRINSICS,
    STATIONARY_EGO,
    MOVING_EGO,
    NO_BOXES,
    SMALL_BOXES,
    NO_PARKED_BOXES,
    NO_CAMERA_HEIGHT,
    CAMERA_NOT_ALONG_ROAD,
    ROAD_HIDDEN,
    ONE_CAMERA,
    NO_OVERLAP,
    NO_POSE_NETWORK,
    NO_COLMAP_CHECK,
    TOO_FEW_ROWS,
)

# Why a measure may be missing though the command calls for it: such a clip was not shown to be good.
TOO_FEW_FRAMES = "too few frames"
TOO_FEW_TRACKS = "too few tracks"
DEGENERATE = "degenerate geometry"
NO_ROAD_TEXTURE = "no texture on the road"
NO_ROAD_MATCH = "the road agrees with itself at no scale"
NO_OVERLAP_TEXTURE = "no texture where cameras overlap"


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """One number of one clip; ``frames`` are the worst ones, ``track`` the id of the object where it is about one.

    ``value`` is None, and ``reason`` says why, where ``state`` is "unmeasurable".
    """

    name: str
    family: str
    unit: str
    value: float | None
    state: Literal["measured", "unmeasurable"]
    reason: str = ""
    frames: tuple[int, ...] = ()
    track: str = ""

    def __post_init__(self) -> None:
        if (self.state == "measured") != (self.value is not None) or (self.value is None) != bool(self.reason):
            raise UserError(f"measure {self.name}: needs either a value or a reason why there is none")
        if self.value is not None and not math.isfinite(self.value):
            raise UserError(f"measure {self.name}: value {self.value} is not finite")


@dataclass(frozen=True, kw_only=True, slots=True)
class Measures:
    """All numbers of one clip.

    ``source`` is where its scene came from, for calibrations to say what they hold for. ``tracker`` is the name of what
    followed its points: limits hold for one tracker only.
    """

    clip_id: str
    values: tuple[Measure, ...]
    source: str = ""
    covariates: ClipCovariates | None = None
    tracker: str = LUCAS_KANADE

    def __getitem__(self, name: str) -> Measure:
        return next(measure for measure in self.values if measure.name == name)

    def to_json(self) -> dict[str, Any]:
        values = [{**asdict(measure), "frames": list(measure.frames)} for measure in self.values]
        covariates = asdict(self.covariates) if self.covariates else None
        # Lucas-Kanade goes without saying, as it did before there were others: so hashes of older measures hold.
        tracker = {} if self.tracker == LUCAS_KANADE else {"tracker": self.tracker}
        return {"clip_id": self.clip_id, "source": self.source, "covariates": covariates, **tracker, "values": values}

    @classmethod
    def from_json(cls, record: Mapping[str, Any], where: str = "measures") -> "Measures":
        """The inverse of ``to_json``; a UserError names ``where`` and the key that is missing, unknown or wrong."""
        return validate_record(record, cls, where)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """The value of a measure in some ``frames`` of a clip, or for one object."""

    value: float
    frames: tuple[int, ...] = ()
    track: str = ""


def make_measure(name: str, value: float, frames: Iterable[int] = (), track: str = "") -> Measure:
    """A measure with a value; *unmeasurable* where the value is not finite, so that no NaN ever passes as good."""
    if not math.isfinite(value):
        return make_unmeasurable(name, DEGENERATE)
    definition = DEFINITIONS[name]
    return Measure(
        name=name,
        family=definition.family,
        unit=definition.unit,
        value=float(value),
        state="measured",
        frames=tuple(int(frame) for frame in frames),
        track=track,
    )


def make_unmeasurable(name: str, reason: str) -> Measure:
    definition = DEFINITIONS[name]
    return Measure(
        name=name, family=definition.family, unit=definition.unit, value=None, state="unmeasurable", reason=reason
    )


def median_measure(name: str, samples: Sequence[Sample], reason: str) -> Measure:
    """The median of the samples and the frames of the worst one; without samples unmeasurable because of ``reason``."""
    if not samples:
        return make_unmeasurable(name, reason)
    worst = max(samples, key=lambda sample: sample.value)
    median = float(np.median([sample.value for sample in samples]))
    return make_measure(name, median, worst.frames, worst.track)


def worst_measure(name: str, samples: Sequence[Sample], reason: str) -> Measure:
    """The largest of the samples and its frames; without samples unmeasurable because of ``reason``."""
    if not samples:
        return make_unmeasurable(name, reason)
    sample = max(samples, key=lambda sample: sample.value)
    return make_measure(name, sample.value, sample.frames, sample.track)
