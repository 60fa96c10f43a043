"""Scene edits as records: one frozen dataclass per kind of edit, with checked parameters.

``driveforge.datasets.edits.catalog`` lists all kinds.
"""

from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Literal, Protocol, get_args, get_origin, get_type_hints

from driveforge.datasets.edits.agents import (
    brake_agent,
    change_agent_path,
    cut_in,
    insert_agent,
    remove_agent,
    shift_agent,
)
from driveforge.datasets.edits.cameras import move_cameras
from driveforge.datasets.edits.ego import brake_ego, mirror_ego, shift_ego, slow_ego
from driveforge.datasets.edits.weather import change_weather
from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Scene
from driveforge.datasets.settings import Range


class Edit(Protocol):
    """A change of a scene. ``keeps_first_frame`` is False if the recorded first frame contradicts the edited scene."""

    kind: ClassVar[str]
    keeps_first_frame: ClassVar[bool]

    def apply(self, scene: Scene) -> Scene:
        """The edited scene; raises ``EditNotApplicable``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AsRecorded:
    """No change."""

    kind: ClassVar[str] = "as-recorded"
    keeps_first_frame: ClassVar[bool] = True

    def apply(self, scene: Scene) -> Scene:
        return scene


@dataclass(frozen=True, kw_only=True, slots=True)
class Weather:
    """Other weather or time of day; the clip has no recorded first frame."""

    kind: ClassVar[str] = "weather"
    keeps_first_frame: ClassVar[bool] = False
    to: Annotated[Literal["day", "dusk", "rain"], "domain of the edited scene, driving-<to>"]

    def __post_init__(self) -> None:
        _check(self)

    def apply(self, scene: Scene) -> Scene:
        return change_weather(scene, self.to)


@dataclass(frozen=True, kw_only=True, slots=True)
class Slow:
    """The ego vehicle slows down evenly until the last frame."""

    kind: ClassVar[str] = "slow"
    keeps_first_frame: ClassVar[bool] = True
    factor: Annotated[float, "last speed, as a fraction of the recorded one", Range(0, 1)]

    def __post_init__(self) -> None:
        _check(self)

    def apply(self, scene: Scene) -> Scene:
        return slow_ego(scene, self.factor)


@dataclass(frozen=True, kw_only=True, slots=True)
class Brake:
    """The ego vehicle brakes from the first frame on, until it stops."""

    kind: ClassVar[str] = "brake"
    keeps_first_frame: ClassVar[bool] = True
    deceleration: Annotated[float, "m/s²; 8 is an emergency stop", Range(0.5, 9)]

    def __post_init__(self) -> None:
        _check(self)

    def apply(self, scene: Scene) -> Scene:
        return brake_ego(scene, self.deceleration)


@dataclass(frozen=True, kw_only=True, slots=True)
class ShiftEgo:
    """The ego path drifts sideways, by at most an eighth of its length."""

    kind: ClassVar[str] = "shift-ego"
    keeps_first_frame: ClassVar[bool] = True
    meters: Annotated[float, "lateral offset in the last frame, m; positive is left", Range(-4, 4)]

    def __post_init__(self) -> None:
        _check(self)
        _require_change(self, self.meters)

    def apply(self, scene: Scene) -> Scene:
        return shift_ego(scene, self.meters)


@dataclass(frozen=True, kw_only=True, slots=True)
class MirrorYaw:
    """The ego path turns to the other side."""

    kind: ClassVar[str] = "mirror-yaw"
    keeps_first_frame: ClassVar[bool] = True

    def apply(self, scene: Scene) -> Scene:
        return mirror_ego(scene)


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentBrakes:
    """The most visible moving vehicle brakes to a stop."""

    kind: ClassVar[str] = "agent-brakes"
    keeps_first_frame: ClassVar[bool] = True

    def apply(self, scene: Scene) -> Scene:
        return brake_agent(scene)


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentShifts:
    """The most visible moving vehicle drifts 1.5 m away from the ego path."""

    kind: ClassVar[str] = "agent-shifts"
    keeps_first_frame: ClassVar[bool] = True

    def apply(self, scene: Scene) -> Scene:
        return shift_agent(scene)


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentPath:
    """The most visible moving vehicle takes another path and touches nothing."""

    kind: ClassVar[str] = "agent-path"
    keeps_first_frame: ClassVar[bool] = True
    shift: Annotated[float, "lateral offset in its last frame, m; positive is to its left", Range(-4, 4)] = 0.0
    speed: Annotated[float, "its last speed, as a fraction of the recorded one", Range(0, 1)] = 1.0

    def __post_init__(self) -> None:
        _check(self)
        _require_change(self, self.shift or 1 - self.speed)

    def apply(self, scene: Scene) -> Scene:
        return change_agent_path(scene, self.shift, self.speed)


@dataclass(frozen=True, kw_only=True, slots=True)
class CutIn:
    """The nearest moving vehicle ahead, beside the ego lane, changes into it and touches nothing.

    In a short clip it gets as far as its speed allows, at least half of the way.
    """

    kind: ClassVar[str] = "cut-in"
    keeps_first_frame: ClassVar[bool] = True
    lateral: Annotated[float, "where the change ends, m left of the ego path", Range(-2, 2)] = 0.0

    def __post_init__(self) -> None:
        _check(self)

    def apply(self, scene: Scene) -> Scene:
        return cut_in(scene, self.lateral)


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoveAgent:
    """The most visible moving vehicle is removed; the clip has no recorded first frame."""

    kind: ClassVar[str] = "remove-agent"
    keeps_first_frame: ClassVar[bool] = False

    def apply(self, scene: Scene) -> Scene:
        return remove_agent(scene)


@dataclass(frozen=True, kw_only=True, slots=True)
class InsertAgent:
    """A new agent that a camera sees and that touches nothing; the clip has no recorded first frame."""

    kind: ClassVar[str] = "insert-agent"
    keeps_first_frame: ClassVar[bool] = False
    category: Annotated[Literal["car", "truck", "bus", "motorcycle", "bicycle", "pedestrian"], "kind of agent"] = "car"
    ahead: Annotated[float, "m ahead of the ego vehicle in the first frame", Range(-50, 80)]
    lateral: Annotated[float, "m left of the ego path", Range(-20, 20)]
    speed: Annotated[float, "m/s along the ego path; negative: oncoming", Range(-40, 40)] = 0.0

    def __post_init__(self) -> None:
        _check(self)

    def apply(self, scene: Scene) -> Scene:
        return insert_agent(scene, self.category, self.ahead, self.lateral, self.speed)


@dataclass(frozen=True, kw_only=True, slots=True)
class MoveCameras:
    """Every camera is mounted higher or lower and tilted; the clip has no recorded first frame."""

    kind: ClassVar[str] = "camera"
    keeps_first_frame: ClassVar[bool] = False
    height: Annotated[float, "m higher than recorded", Range(-1, 2)] = 0.0
    pitch: Annotated[float, "degrees further down than recorded", Range(-15, 15)] = 0.0

    def __post_init__(self) -> None:
        _check(self)
        _require_change(self, self.height or self.pitch)

    def apply(self, scene: Scene) -> Scene:
        return move_cameras(scene, self.height, self.pitch)


def _check(edit: Any) -> None:
    """Raise UserError if a parameter of the record is not valid; numbers become floats."""
    hints = get_type_hints(type(edit), include_extras=True)
    for field in fields(edit):
        kind, *limits = get_args(hints[field.name])
        value, where = getattr(edit, field.name), f"{edit.kind}.{field.name}"
        if get_origin(kind) is Literal:
            if value not in get_args(kind):
                raise UserError(f"{where}={value} is not one of {', '.join(get_args(kind))}")
            continue
        object.__setattr__(edit, field.name, float(value))
        for limit in limits:
            if isinstance(limit, Range):
                limit.check(value, where)


def _require_change(edit: Edit, change: float) -> None:
    if not change:
        raise UserError(f"{edit.kind} changes nothing; use as-recorded")
