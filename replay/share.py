"""How much of the batches is replay, step by step: schedules whose running sum is exact."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from driveforge.datasets.errors import UserError

# Shares below mean their decimal: 0.1 is one tenth, not the binary number beside it.
Share = float | Fraction


class ShareSchedule(Protocol):
    """A share for every step, from 0 to 1."""

    @property
    def min_share(self) -> Fraction:
        """No step has a smaller share."""
        ...

    @property
    def max_share(self) -> Fraction:
        """No step has a greater share."""
        ...

    def cumulative_share(self, step: int) -> Fraction:
        """The exact sum of the shares of the ``step`` steps before this one."""
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
    """From ``first`` at step 0 to ``last`` at step ``steps`` - 1 along a line, and ``last`` ever after."""

    first: Share
    last: Share
    steps: int

    def __post_init__(self) -> None:
        require_share(self.first)
        require_share(self.last)
        if self.steps < 2:
            raise UserError(f"a share from {self.first} to {self.last} needs 2 steps or more, got {self.steps}")

    @property
    def min_share(self) -> Fraction:
        return min(to_fraction(self.first), to_fraction(self.last))

    @property
    def max_share(self) -> Fraction:
        return max(to_fraction(self.first), to_fraction(self.last))

    def cumulative_share(self, step: int) -> Fraction:
        num_linear_steps = min(step, self.steps)
        slope = (to_fraction(self.last) - to_fraction(self.first)) / (self.steps - 1)
        return (
            num_linear_steps * to_fraction(self.first)
            + slope * (num_linear_steps * (num_linear_steps - 1) // 2)
            + (step - num_linear_steps) * to_fraction(self.last)
        )


@dataclass(frozen=True)
class SteppedShare:
    """``changes`` are (step, share), steps rising from 0: each share holds from its step on, until the next."""

    changes: tuple[tuple[int, Share], ...]

    def __post_init__(self) -> None:
        steps = [step for step, _ in self.changes]
        if steps[:1] != [0] or steps != sorted(set(steps)):
            raise UserError(f"the steps of a stepped share must rise from 0, got {steps}")
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
