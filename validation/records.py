"""The measures of one clip, each with a value or a reason why it could not be measured."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.json_record import validate_record
from driveforge.validation.catalog import get_definition
from driveforge.validation.covariates import ClipCovariates

# The tracker that needs no weights.
LUCAS_KANADE = "lucas_kanade"

# Reasons why measures do not apply to a clip, which depend on its command. The catalog has further ones that
# concern single measures.
NO_POSE = "no pose"
NO_INTRINSICS = "no intrinsics"
STATIONARY_EGO = "stationary ego"
MOVING_EGO = "moving ego"
NO_BOXES = "no boxes in view"
SMALL_BOXES = "boxes too small or too briefly in view"
_NOT_APPLICABLE_REASONS = (NO_POSE, NO_INTRINSICS, STATIONARY_EGO, MOVING_EGO, NO_BOXES, SMALL_BOXES)

# Reasons why an applicable measure has no value: such a clip cannot be accepted.
TOO_FEW_FRAMES = "too few frames"
TOO_FEW_TRACKS = "too few tracks"
DEGENERATE = "degenerate geometry"
NO_ROAD_TEXTURE = "no texture on the road"
NO_ROAD_MATCH = "no scale aligns the road between frames"
NO_OVERLAP_TEXTURE = "no texture where cameras overlap"


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """One measure of one clip; ``frames`` are the worst ones, ``track`` the id of the worst object ("" if none).

    If ``state`` is "unmeasurable", ``value`` is None and ``reason`` says why. ``visibility`` is the share of the
    object's box that is in the picture and not occluded, in these frames; None if the measure is not of an object.
    """

    name: str
    family: str
    unit: str
    value: float | None
    state: Literal["measured", "unmeasurable"]
    reason: str = ""
    frames: tuple[int, ...] = ()
    track: str = ""
    visibility: float | None = None

    def __post_init__(self) -> None:
        if (self.state == "measured") != (self.value is not None) or (self.value is None) != bool(self.reason):
            raise UserError(f"measure {self.name}: must have either a value or a reason")
        if self.value is not None and not math.isfinite(self.value):
            raise UserError(f"measure {self.name}: value {self.value} is not finite")
        if self.visibility is not None and not 0 <= self.visibility <= 1:
            raise UserError(f"measure {self.name}: visibility must be from 0 to 1, got {self.visibility:g}")

    @property
    def is_applicable(self) -> bool:
        """Whether the clip's command calls for this measure; if it has no value, the clip cannot be accepted."""
        return self.reason not in (*_NOT_APPLICABLE_REASONS, *get_definition(self.name).not_applicable)


@dataclass(frozen=True, kw_only=True, slots=True)
class Measures:
    """All measures of one clip.

    ``source`` is the source of its scene, which a calibration names. ``tracker`` is the name of the point tracker:
    limits hold for one tracker only.
    """

    clip_id: str
    values: tuple[Measure, ...]
    source: str = ""
    covariates: ClipCovariates | None = None
    tracker: str = LUCAS_KANADE

    def __getitem__(self, name: str) -> Measure:
        return next(measure for measure in self.values if measure.name == name)

    def to_json(self) -> dict[str, Any]:
        values = [_measure_to_json(measure) for measure in self.values]
        covariates = asdict(self.covariates) if self.covariates else None
        # The default tracker is omitted, so that hashes of measures from older versions stay valid.
        tracker = {} if self.tracker == LUCAS_KANADE else {"tracker": self.tracker}
        return {"clip_id": self.clip_id, "source": self.source, "covariates": covariates, **tracker, "values": values}

    @classmethod
    def from_json(cls, record: Mapping[str, Any], where: str = "measures") -> "Measures":
        """The inverse of ``to_json``; raises UserError with ``where`` and the key that is missing, unknown or wrong."""
        return validate_record(record, cls, where)


def _measure_to_json(measure: Measure) -> dict[str, Any]:
    record = {**asdict(measure), "frames": list(measure.frames)}
    # Omitted like the default tracker.
    if measure.visibility is None:
        del record["visibility"]
    return record


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """The value of a measure in some ``frames`` of a clip, or of one object with this ``visibility``."""

    value: float
    frames: tuple[int, ...] = ()
    track: str = ""
    visibility: float | None = None


def make_measure(
    name: str, value: float, frames: Iterable[int] = (), track: str = "", visibility: float | None = None
) -> Measure:
    """A measure with a value; unmeasurable if the value is not finite, so that a NaN never passes as good."""
    if not math.isfinite(value):
        return make_unmeasurable(name, DEGENERATE)
    definition = get_definition(name)
    return Measure(
        name=name,
        family=definition.family,
        unit=definition.unit.symbol,
        value=float(value),
        state="measured",
        frames=tuple(int(frame) for frame in frames),
        track=track,
        visibility=visibility,
    )


def make_unmeasurable(name: str, reason: str) -> Measure:
    definition = get_definition(name)
    return Measure(
        name=name,
        family=definition.family,
        unit=definition.unit.symbol,
        value=None,
        state="unmeasurable",
        reason=reason,
    )


def median_measure(name: str, samples: Sequence[Sample], reason: str) -> Measure:
    """The median of the samples with the frames of the worst one; unmeasurable for ``reason`` without samples.

    Its visibility is the median of those that are known.
    """
    if not samples:
        return make_unmeasurable(name, reason)
    worst = max(samples, key=lambda sample: sample.value)
    median = float(np.median([sample.value for sample in samples]))
    known = [sample.visibility for sample in samples if sample.visibility is not None]
    return make_measure(name, median, worst.frames, worst.track, float(np.median(known)) if known else None)


def worst_measure(name: str, samples: Sequence[Sample], reason: str) -> Measure:
    """The largest of the samples with its frames; unmeasurable for ``reason`` without samples."""
    if not samples:
        return make_unmeasurable(name, reason)
    sample = max(samples, key=lambda sample: sample.value)
    return make_measure(name, sample.value, sample.frames, sample.track, sample.visibility)
