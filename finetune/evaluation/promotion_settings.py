"""Settings of the promotion rule."""

from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Annotated

from driveforge.datasets.settings import Range


@dataclass(frozen=True, kw_only=True, slots=True)
class PromotionRule:
    """The metrics that must improve, those that must not regress, and the required confidence."""

    improve: Annotated[str, "metric that must improve, over all driving clips"]
    dynamics: Annotated[tuple[str, ...], "metrics that must not regress in any domain"]
    driving_domains: Annotated[tuple[str, ...], "patterns of the driving domains"]
    tolerance: Annotated[float, "largest regression that is allowed, relative to the mean before", Range(0)]
    confidence: Annotated[float, "confidence at which a larger regression must be excluded", Range(0.5, 0.999)]
    min_clips: Annotated[int, "minimum number of paired clips; with fewer, a check is inconclusive", Range(2)]

    def is_driving(self, domain: str) -> bool:
        return any(fnmatch(domain, pattern) for pattern in self.driving_domains)
