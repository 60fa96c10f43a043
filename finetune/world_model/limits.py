"""The clip lengths and sizes that a model takes, checked before anything is rendered."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from driveforge.datasets.errors import UserError
from driveforge.datasets.framing import Framing
from driveforge.datasets.scene import Scene


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipLimits:
    """A clip has 1 + k * ``frame_step`` frames, at most ``max_frames`` if there is a limit.

    Sides are multiples of ``side_step`` pixels, the side of a token, up to ``max_side`` pixels. A latent frame after
    the first holds ``temporal_stride`` frames. The model was trained on clips of up to ``trained_frames``.
    """

    frame_step: int
    max_frames: int | None
    side_step: int
    max_side: int
    trained_frames: int
    temporal_stride: int = 1

    @property
    def in_chunks(self) -> "ClipLimits":
        """Those of clips that are generated in chunks, of any length."""
        return replace(self, max_frames=None)

    def allows_length(self, num_frames: int) -> bool:
        return num_frames % self.frame_step == 1 and (self.max_frames is None or num_frames <= self.max_frames)

    def allows(self, num_frames: int, height: int, width: int) -> bool:
        is_length_valid = self.allows_length(num_frames)
        return is_length_valid and all(side % self.side_step == 0 and side <= self.max_side for side in (height, width))

    @property
    def lengths(self) -> str:
        return f"1 + {self.frame_step}k frames" + ("" if self.max_frames is None else f" up to {self.max_frames}")

    def __str__(self) -> str:
        return f"{self.lengths}, with sides that are multiples of {self.side_step} up to {self.max_side}"


def require_framing(framing: Framing, limits: ClipLimits, model: str) -> None:
    """Raise UserError if ``model``, of which the error speaks, cannot take clips of this framing."""
    if not limits.allows(framing.num_frames, framing.height, framing.width):
        raise UserError(
            f"data.num_frames={framing.num_frames}, data.height={framing.height}, data.width={framing.width}: {model} "
            f"takes {limits}"
        )


def require_encodable(scenes: Iterable[Scene], limits: ClipLimits) -> None:
    """Raises UserError if the model cannot take the length or size of a clip."""
    for scene in scenes:
        for camera in scene.cameras:
            if not limits.allows(scene.num_frames, camera.height, camera.width):
                raise UserError(
                    f"clip {scene.clip_id} has {scene.num_frames} frames of {camera.width}x{camera.height}, the model "
                    f"takes {limits}; set data.num_frames, data.height and data.width"
                )
