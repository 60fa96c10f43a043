"""All kinds of edits, the names of common ones, and their application to a scene.

An edit has a text that names its kind and all of its parameters, such as ``slow(factor=0.7)``. The text of a record
among ``EDITS`` is its name there. So two edits are equal if and only if their texts are.
"""

from dataclasses import fields, replace
from typing import Any

from driveforge.datasets.edits.records import (
    AgentBrakes,
    AgentPath,
    AgentShifts,
    AsRecorded,
    Brake,
    CutIn,
    Edit,
    InsertAgent,
    MirrorYaw,
    MoveCameras,
    RemoveAgent,
    ShiftEgo,
    Slow,
    Weather,
)
from driveforge.datasets.scene import Scene

KINDS: dict[str, type[Edit]] = {
    kind.kind: kind
    for kind in (
        AsRecorded, Weather, Slow, Brake, ShiftEgo, MirrorYaw, AgentBrakes, AgentShifts, AgentPath, CutIn, RemoveAgent,
        InsertAgent, MoveCameras,
    )
}  # fmt: skip

EDITS: dict[str, Edit] = {
    "as-recorded": AsRecorded(),
    "slower": Slow(factor=0.2),
    "shift-left": ShiftEgo(meters=1.0),
    "shift-right": ShiftEgo(meters=-1.0),
    "mirror-yaw": MirrorYaw(),
    "day": Weather(to="day"),
    "dusk": Weather(to="dusk"),
    "rain": Weather(to="rain"),
    "agent-brakes": AgentBrakes(),
    "agent-shifts": AgentShifts(),
}
_NAMES = {edit: name for name, edit in EDITS.items()}


def edit_text(edit: Edit) -> str:
    """The name of ``edit``, or its kind with all parameters."""
    if edit in _NAMES:
        return _NAMES[edit]
    record: Any = edit
    values = (f"{field.name}={_value_text(getattr(record, field.name))}" for field in fields(record))
    parameters = ", ".join(values)
    return f"{edit.kind}({parameters})" if parameters else edit.kind


def _value_text(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    short = f"{value + 0.0:g}"  # -0.0 is 0
    return short if float(short) == value else repr(value)


def edit_scene(scene: Scene, edit: Edit | str) -> Scene:
    """``scene`` after ``edit``, a record or a name of ``EDITS``; raises ``EditNotApplicable``.

    The name, or else the kind of the edit, is appended to the clip id.
    """
    record = EDITS[edit] if isinstance(edit, str) else edit
    return replace(record.apply(scene), clip_id=f"{scene.clip_id}-{_NAMES.get(record, record.kind)}")
