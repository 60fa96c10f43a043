"""What the page compares: the arms with their results, and the pairs of arms that answer its questions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from driveforge.pipelines.studies.downstream import estimates
from driveforge.pipelines.studies.downstream.arms import ALL_GENERATED, REJECTED, Arm
from driveforge.pipelines.studies.downstream.estimates import Estimate
from driveforge.pipelines.studies.downstream.generators import ACCEPTED
from driveforge.pipelines.studies.downstream.runs import RunResult


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneratorSummary:
    """Clips of a generator by edit, (accepted, all), and their PSNR in dB against the simulator; NaN without any."""

    name: str
    by_edit: Mapping[str, tuple[int, int]]
    psnr: float
    psnr_accepted: float
    psnr_rejected: float

    @property
    def num_accepted(self) -> int:
        return sum(accepted for accepted, _ in self.by_edit.values())

    @property
    def num_clips(self) -> int:
        return sum(everything for _, everything in self.by_edit.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """An arm and another one to compare it with."""

    arm: Arm
    other: Arm


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """All arms and runs; the first arm is that of real clips only. ``share`` is that of the main arms."""

    arms: Sequence[Arm]
    results: Sequence[RunResult]
    share: float

    @property
    def real(self) -> Arm:
        return self.arms[0]

    @property
    def all_clips(self) -> list[Arm]:
        """The arms with all clips that there are, at the share of the main arms."""
        return [arm for arm in self.arms if not arm.equal and arm.share == self.share]

    def level(self, arm: Arm, metric: str) -> Estimate:
        return estimates.level(self.results, arm, metric)

    def gain(self, arm: Arm, metric: str) -> Estimate:
        """The gain over real clips only."""
        return self.difference(arm, self.real, metric)

    def difference(self, arm: Arm, other: Arm, metric: str) -> Estimate:
        return estimates.difference(self.results, arm, other, metric)

    def find(self, what: str, generator: str = "", *, equal: bool) -> Arm | None:
        """The main arm of this kind; None if there are no such clips."""
        for arm in self.arms:
            if (arm.what, arm.generator, arm.equal, arm.share) == (what, generator, equal, self.share):
                return arm
        return None

    def largest(self, what: str, generator: str = "") -> Arm:
        """The main arm of this kind with the most clips."""
        arm = self.largest_or_none(what, generator)
        assert arm is not None, f"there is no arm {what}"
        return arm

    def largest_or_none(self, what: str, generator: str = "") -> Arm | None:
        return self.find(what, generator, equal=False) or self.find(what, generator, equal=True)

    def pairs(self) -> Iterator[Pair]:
        """Accepted against all and against rejected clips of every generator, for both numbers of clips."""
        generators = list(dict.fromkeys(arm.generator for arm in self.arms if arm.generator))
        for generator in generators:
            for equal in (True, False):
                accepted = self.find(ACCEPTED, generator, equal=equal)
                for what in (ALL_GENERATED, REJECTED):
                    other = self.find(what, generator, equal=equal)
                    if accepted is not None and other is not None:
                        yield Pair(arm=accepted, other=other)

    def sweep(self, what: str) -> list[Arm]:
        """The arms of all shares of the first generator, from small to large; empty without such clips."""
        first = next(arm.generator for arm in self.arms if arm.generator)
        if (main := self.largest_or_none(what, first)) is None:
            return []
        others = [arm for arm in self.arms if (arm.what, arm.generator) == (what, first) and arm.share != self.share]
        return sorted([main, *others], key=lambda arm: arm.share)
