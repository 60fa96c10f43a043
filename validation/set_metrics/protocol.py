"""The protocol under which a metric of a set of clips was computed; only results of one protocol are compared.

Published Frechet distances differ more by their protocols than by the models: by the number of clips (Chong and
Forsyth, "Effectively unbiased FID", CVPR 2020), by the resizing of images (Parmar et al., "On aliased resizing", CVPR
2022), by frames, rate and weights (Unterthiner et al., "FVD", 2019). So the protocol is part of every result.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from driveforge.datasets.errors import UserError


@dataclass(frozen=True, kw_only=True, slots=True)
class SetProtocol:
    """Everything that must be equal before two results may be compared.

    ``extractor_hash`` is the hash of the extractor's code or weights; ``reference`` is a hash of the clip ids of the
    reference set ("" for a measure without one); ``frame_rate`` is in Hz, to the nearest half; sizes are in px;
    ``seed`` is that of the permutations.
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
    """A metric of a set of clips under its protocol; ``warning`` names a limitation ("" if there is none).

    ``null_median`` is the median over random permutations of the clips between both sets, the expected value for sets
    of this size that do not differ, and ``p_value`` the share of permutations with at least this value; None without
    permutations.
    """

    value: float
    protocol: SetProtocol
    null_median: float | None = None
    p_value: float | None = None
    warning: str = ""

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise UserError(f"{self.protocol.measure} is {self.value}; it must be finite")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "SetResult":
        """The inverse of ``to_json``; raises UserError if a key is missing or unknown."""
        try:
            return cls(**{**record, "protocol": SetProtocol(**record["protocol"])})
        except (KeyError, TypeError) as error:
            raise UserError(f"not a result of a metric of a set of clips ({error})") from error


def change(before: SetResult, after: SetResult) -> float:
    """``after`` - ``before``; raises UserError if their protocols differ."""
    require_same_protocol(before.protocol, after.protocol)
    return after.value - before.value


def require_same_protocol(a: SetProtocol, b: SetProtocol) -> None:
    """Raises UserError with every field in which the two differ."""
    differing = [
        f"{field.name} {getattr(a, field.name)} and {getattr(b, field.name)}"
        for field in fields(SetProtocol)
        if getattr(a, field.name) != getattr(b, field.name)
    ]
    if differing:
        raise UserError(
            f"{a.measure}: two sets under different protocols cannot be compared ({'; '.join(differing)}); "
            "measure both under one protocol"
        )
