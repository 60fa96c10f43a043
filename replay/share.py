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
    def least(self) -> Fraction:
        """No step has a smaller share."""
        ...

    @property
    def most(self) -> Fraction:
        """No step has a greater share."""
        ...

    def total(self, step: int) -> Fraction:
        """The exact sum of the shares of the ``step`` steps before this one."""
        ...


@dataclass(frozen=True)
class FixedShare:
    """The same ``share`` at every step."""

    share: Share

    def __post_init__(self) -> None:
        require_share(self.share)

    @property
    def least(self) -> Fraction:
        return exact(self.share)

    @property
    def most(self) -> Fraction:
        return exact(self.share)

    def total(self, step: int) -> Fraction:
        return exact(self.share) * step


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
    def least(self) -> Fraction:
        return min(exact(self.first), exact(self.last))

    @property
    def most(self) -> Fraction:
        return max(exact(self.first), exact(self.last))

    def total(self, step: int) -> Fraction:
        on_line = min(step, self.steps)
        rise = (exact(self.last) - exact(self.first)) / (self.steps - 1)
        return on_line * exact(self.first) + rise * (on_line * (on_line - 1) // 2) + (step - on_line) * exact(self.last)


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
    def least(self) -> Fraction:
        return min(exact(share) for _, share in self.changes)

    @property
    def most(self) -> Fraction:
        return max(exact(share) for _, share in self.changes)

    def total(self, step: int) -> Fraction:
        ends = [*(start for start, _ in self.changes[1:]), step]
        return sum(
            (
                exact(share) * (min(end, step) - start)
                for (start, share), end in zip(self.changes, ends, strict=True)
                if start < step
            ),
            Fraction(0),
        )


def exact(share: Share) -> Fraction:
    return Fraction(str(share))


def require_share(share: Share) -> None:
    if not 0 <= share <= 1:
        raise UserError(f"replay share {share} must be between 0 and 1")
