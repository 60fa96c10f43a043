"""One camera of a clip with its boxes and point tracks: the input of every measure of a single camera."""

from dataclasses import dataclass
from functools import cached_property

from driveforge.validation.camera.pose_refinement import RefinedMotion, not_refined_reason, refine_motions
from driveforge.validation.faces.comparison import FaceSeries, compare_steps
from driveforge.validation.faces.rectify import Face, FaceKey, rectify_faces
from driveforge.validation.instruments import DEFAULT_INSTRUMENTS, Instruments
from driveforge.validation.point_tracking.tracks import Tracks
from driveforge.validation.views.boxes import Boxes
from driveforge.validation.views.view import CommandedCamera, View


@dataclass(frozen=True, kw_only=True, eq=False)
class TrackedView:
    """A view, its projected ``boxes`` (None without a pose or without boxes) and its point ``tracks``."""

    view: View
    boxes: Boxes | None
    tracks: Tracks
    instruments: Instruments = DEFAULT_INSTRUMENTS

    @property
    def command(self) -> CommandedCamera:
        """The commanded motion; only for measures that need a command."""
        assert self.view.command is not None, "measures that need a command are not called without one"
        return self.view.command

    @cached_property
    def refined_motions(self) -> list[RefinedMotion]:
        """The camera motions estimated from background tracks; computed once for all measures that use them."""
        return refine_motions(self.tracks, self.command)

    @cached_property
    def faces(self) -> dict[FaceKey, list[Face]]:
        """The rectified faces of vehicles; none without a command or without boxes."""
        if self.view.command is None or self.boxes is None:
            return {}
        return rectify_faces(self.view, self.view.command, self.boxes)

    @cached_property
    def face_steps(self) -> dict[int, FaceSeries]:
        """By object, every face compared with itself ``STEP`` frames later; computed once for all measures."""
        return compare_steps(self.faces)

    @property
    def not_refined_reason(self) -> str:
        """The reason why ``refined_motions`` is empty."""
        return not_refined_reason(self.tracks, self.command)
