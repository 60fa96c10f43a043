"""The image size, frame rate and clip length that footage is converted to."""

from dataclasses import dataclass, fields
from typing import Annotated

from driveforge.datasets.errors import UserError
from driveforge.datasets.settings import Range

# What world models accept: 1 + 4k frames, sides that are multiples of a token. The limits of each model are checked
# when it is known.
FRAMES, SIDE = Range(5, 1021, step=4), Range(16, 4096, step=16)


@dataclass(frozen=True, kw_only=True, slots=True)
class Framing:
    """Image size, frame rate and length of clips; a new clip starts every ``stride`` frames."""

    height: Annotated[int, "pixels", SIDE]
    width: Annotated[int, "pixels", SIDE]
    frame_rate: Annotated[float, "Hz", Range(0.1)]
    num_frames: Annotated[int, "frames per clip, 1 + 4k", FRAMES]
    stride: Annotated[int, "frames between the starts of consecutive clips", Range(1)]

    def __post_init__(self) -> None:
        if min(self.height, self.width, self.num_frames, self.stride) < 1 or self.frame_rate <= 0:
            raise UserError(f"framing needs a positive size, frame rate, length and stride, got {self}")

    @property
    def seconds(self) -> float:
        """Time from the first frame of a clip to the last."""
        return (self.num_frames - 1) / self.frame_rate

    @property
    def framing(self) -> "Framing":
        """Only the framing, of a subclass with more fields."""
        return Framing(**{field.name: getattr(self, field.name) for field in fields(Framing)})
