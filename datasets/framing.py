"""The size, rate and length that footage is brought to."""

from dataclasses import dataclass, fields
from typing import Annotated

from driveforge.datasets.errors import UserError
from driveforge.datasets.settings import Range

# What the world model takes: 1 + 4k frames, sides of whole tokens, and no more of either than it has positions for.
FRAMES, SIDE = Range(5, 61, step=4), Range(16, 1024, step=16)


@dataclass(frozen=True, kw_only=True, slots=True)
class Framing:
    """The size, rate and length that clips are brought to; a new clip starts every ``stride`` frames."""

    height: Annotated[int, "rows", SIDE]
    width: Annotated[int, "columns", SIDE]
    frame_rate: Annotated[float, "Hz", Range(0.1)]
    num_frames: Annotated[int, "frames in a clip, 1 + 4k", FRAMES]
    stride: Annotated[int, "frames from the start of one clip to the next", Range(1)]

    def __post_init__(self) -> None:
        if min(self.height, self.width, self.num_frames, self.stride) < 1 or self.frame_rate <= 0:
            raise UserError(f"framing needs positive sizes, rate, length and stride, got {self}")

    @property
    def seconds(self) -> float:
        """From the first frame of a clip to its last."""
        return (self.num_frames - 1) / self.frame_rate

    @property
    def framing(self) -> "Framing":
        """The framing alone, of a record that has other fields too."""
        return Framing(**{field.name: getattr(self, field.name) for field in fields(Framing)})
