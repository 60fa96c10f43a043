"""Scene edits: the same recording with another ego path, other agents, other cameras or other weather.

An edit is a record with a pure function from Scene to Scene. It keeps timestamps. An edit that keeps the recorded first
frame also keeps the start of every path and the cameras, so that this frame still matches the scene. If the scene
cannot be edited (no pose, nothing to move), or would not be plausible (an agent touches another), the edit raises
``EditNotApplicable``.

Image times and tokens are kept by every edit: they name the recorded images that the clip was derived from. Numbers of
lidar points are dropped where the ego path or a box changes, and the annotated attributes of an object with it.
"""

from driveforge.datasets.edits.catalog import EDITS, KINDS, edit_scene, edit_text
from driveforge.datasets.edits.paths import EditNotApplicable
from driveforge.datasets.edits.records import Edit

__all__ = ["EDITS", "KINDS", "Edit", "EditNotApplicable", "edit_scene", "edit_text"]
