"""What a number of a set of clips was taken under, and the refusal to hold it against a number taken otherwise.

Published Frechet distances differ more by their protocols than by the models they are to judge: by the number of clips
(Chong and Forsyth, "Effectively unbiased FID", CVPR 2020), by how images are resized (Parmar et al., "On aliased
resizing", CVPR 2022), by frames, rate and weights (Unterthiner et al., "FVD", 2019). So the protocol is part of it.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from driveforge.datasets.errors import UserError


@dataclass(frozen=True, kw_only=True, slots=True)
class SetProtocol:
    """All that must be the same before two numbers may be compared.

    ``extractor_hash`` is of its code or its weights; ``reference`` is a hash of the ids of the clips that others are
    held against ("" where a measure needs none); ``frame_rate`` is in Hz, to the nearest half; sizes are in px;
    ``seed`` drew what was drawn.
    """

    measure: str
    extractor: str
    extractor_hash: str
    reference: str
    num_clips: int
    num_frames: int
    frame_rate: float
    height: int
    width: int
    seed: int

    def __str__(self) -> str:
        against = f" against {self.reference}" if self.reference else ""
        return (
            f"{self.measure}{against} by {self.extractor} {self.extractor_hash}, {self.num_clips} clips of "
            f"{self.num_frames} frames at {self.frame_rate:g} Hz, {self.width} x {self.height} px, seed {self.seed}"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class SetResult:
    """One number of a set of clips under its protocol; ``warning`` says what speaks against it ("" if nothing does).

    ``null_median`` is the number for two sets of this size that do not differ (the median over random exchanges of
    clips between the two), and ``p_value`` the share of exchanges that show as much; None where nothing was exchanged.
    """

    value: float
    protocol: SetProtocol
    null_median: float | None = None
    p_value: float | None = None
    warning: str = ""

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise UserError(f"{self.protocol.measure} is {self.value}: no number of a set may be NaN or infinite")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "SetResult":
        """The inverse of ``to_json``; a UserError where a key is missing or unknown."""
        try:
            return cls(**{**record, "protocol": SetProtocol(**record["protocol"])})
        except (KeyError, TypeError) as error:
            raise UserError(f"not a record of a measure of a set of clips ({error})") from error


def change(before: SetResult, after: SetResult) -> float:
    """``after`` - ``before``; a UserError where they were taken under different protocols."""
    require_same_protocol(before.protocol, after.protocol)
    return after.value - before.value


def require_same_protocol(a: SetProtocol, b: SetProtocol) -> None:
    """A UserError that names every field in which the two differ."""
    differing = [
        f"{field.name} {getattr(a, field.name)} and {getattr(b, field.name)}"
        for field in fields(SetProtocol)
        if getattr(a, field.name) != getattr(b, field.name)
    ]
    if differing:
        raise UserError(
            f"{a.measure}: two sets under different protocols cannot be compared ({'; '.join(differing)}); "
            "measure both under one"
        )
