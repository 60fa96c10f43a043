"""Schedules of the replay share over the steps, with exact cumulative sums."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from driveforge.datasets.errors import UserError

# A float means its decimal value: 0.1 is one tenth, not the nearest binary number.
Share = float | Fraction


class ShareSchedule(Protocol):
    """A share from 0 to 1 for every step."""

    @property
    def min_share(self) -> Fraction:
        """The smallest share of any step."""
        ...

    @property
    def max_share(self) -> Fraction:
        """The largest share of any step."""
        ...

    def cumulative_share(self, step: int) -> Fraction:
        """The exact sum of the shares of the first ``step`` steps."""
        ...


@dataclass(frozen=True)
class FixedShare:
    """The same ``share`` at every step."""

    share: Share

    def __post_init__(self) -> None:
        require_share(self.share)

    @property
    def min_share(self) -> Fraction:
        return to_fraction(self.share)

    @property
    def max_share(self) -> Fraction:
        return to_fraction(self.share)

    def cumulative_share(self, step: int) -> Fraction:
        return to_fraction(self.share) * step


@dataclass(frozen=True)
class LinearShare:
    """Linear from ``first`` at step 0 to ``last`` at step ``steps`` - 1, then constant."""

    first: Share
    last: Share
    steps: int

    def __post_init__(self) -> None:
        require_share(self.first)
        require_share(self.last)
        if self.steps < 2:
            raise UserError(f"a linear share from {self.first} to {self.last} needs 2 steps or more, got {self.steps}")

    @property
    def min_share(self) -> Fraction:
        return min(to_fraction(self.first), to_fraction(self.last))

    @property
    def max_share(self) -> Fraction:
        return max(to_fraction(self.first), to_fraction(self.last))

    def cumulative_share(self, step: int) -> Fraction:
        num_linear_steps = min(step, self.steps)
        slope = (to_fraction(self.last) - to_fraction(self.first)) / (self.steps - 1)
        # sum of first + slope * k over k < n is n * first + slope * n (n - 1) / 2; then the constant part.
        return (
            num_linear_steps * to_fraction(self.first)
            + slope * (num_linear_steps * (num_linear_steps - 1) // 2)
            + (step - num_linear_steps) * to_fraction(self.last)
        )


@dataclass(frozen=True)
class SteppedShare:
    """Piecewise constant: ``changes`` are (first step, share) pairs, with steps increasing from 0."""

    changes: tuple[tuple[int, Share], ...]

    def __post_init__(self) -> None:
        steps = [step for step, _ in self.changes]
        if steps[:1] != [0] or steps != sorted(set(steps)):
            raise UserError(f"the steps of a stepped share must increase from 0, got {steps}")
        for _, share in self.changes:
            require_share(share)

    @property
    def min_share(self) -> Fraction:
        return min(to_fraction(share) for _, share in self.changes)

    @property
    def max_share(self) -> Fraction:
        return max(to_fraction(share) for _, share in self.changes)

    def cumulative_share(self, step: int) -> Fraction:
        ends = [*(start for start, _ in self.changes[1:]), step]
        return sum(
            (
                to_fraction(share) * (min(end, step) - start)
                for (start, share), end in zip(self.changes, ends, strict=True)
                if start < step
            ),
            Fraction(0),
        )


def to_fraction(share: Share) -> Fraction:
    return Fraction(str(share))


def require_share(share: Share) -> None:
    if not 0 <= share <= 1:
        raise UserError(f"replay share {share} must be between 0 and 1")
