"""The batch plan: what every batch of a fine-tune holds, as a pure function of (seed, step)."""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate

from driveforge.datasets.errors import UserError
from driveforge.replay.selection import RandomSelection, Selection
from driveforge.replay.share import FixedShare, ShareSchedule

DRIVING = "driving"
# No replay domain has this name: it names the stream of draws from all of them at once.
_ALL_POOLS = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Draw:
    """One place in a batch: sample ``index`` of ``pool``, which is ``DRIVING`` or a replay domain.

    ``slot`` counts through the whole batch of all ranks, so (step, slot) names the place for noise and logs.
    """

    step: int
    slot: int
    pool: str
    index: int
    loss_weight: float

    @property
    def is_replay(self) -> bool:
        return self.pool != DRIVING


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """Shares ``batch_size`` places, over all ranks, between driving and replay.

    ``share`` of the samples are replay: a number, or a schedule over the steps. They are dealt to the domains of
    ``pools`` (their sizes) in turn, or, where the plan is ``by_size``, so that every replay sample comes once before
    any comes again. Counts are floors of the running total, so after any number of steps the replay samples, and those
    of each domain that is dealt in turn, are within one sample of their exact share. Driving samples come in a new
    permutation every epoch; replay samples are chosen by ``selection``. ``loss_weight`` multiplies the loss of replay
    samples and changes no batch. A share of 0 is naive fine-tuning.
    """

    seed: int
    batch_size: int
    share: float | ShareSchedule
    pools: Mapping[str, int]
    num_driving: int
    loss_weight: float = 1.0
    by_size: bool = False
    selection: Selection = field(default_factory=RandomSelection)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pools", dict(sorted(self.pools.items())))
        if self.batch_size < 1:
            raise UserError(f"batch_size {self.batch_size} must be at least 1")
        if not 0.0 <= self.loss_weight < float("inf"):
            raise UserError(f"replay loss_weight {self.loss_weight} must be a finite number, 0 or more")
        if self.schedule.least < 1 and self.num_driving < 1:
            raise UserError("there are no driving samples to train on; a replay share of 1 would need none")
        if self.replays:
            self._require_pools()

    @cached_property
    def schedule(self) -> ShareSchedule:
        return FixedShare(self.share) if isinstance(self.share, int | float) else self.share

    @property
    def replays(self) -> bool:
        """Whether any step holds replay samples."""
        return self.schedule.most > 0

    def batch(self, step: int) -> tuple[Draw, ...]:
        """The places of step ``step`` (from 0), driving first."""
        return self._driving_draws(step) + self._replay_draws(step)

    def rank_slice(self, step: int, rank: int, world_size: int) -> tuple[Draw, ...]:
        """The places of one rank: dealt in turn, so that replay spreads evenly over the ranks."""
        if self.batch_size % world_size:
            raise UserError(f"batch_size {self.batch_size} cannot be split evenly over {world_size} processes")
        if not 0 <= rank < world_size:
            raise UserError(f"rank {rank} must be in 0..{world_size - 1}")
        return self.batch(step)[rank::world_size]

    def realised(self, step: int) -> dict[str, int]:
        """Samples drawn from each pool in the ``step`` steps before this one."""
        replayed = self._replayed(step)
        counts = {DRIVING: step * self.batch_size - replayed}
        return counts | {domain: self._dealt(replayed, position) for position, domain in enumerate(self.pools)}

    def _require_pools(self) -> None:
        if not self.pools:
            raise UserError(
                f"replay share {self.schedule.most} needs a replay buffer with samples in it, or set it to 0"
            )
        empty = [domain for domain, size in self.pools.items() if size < 1]
        if empty:
            raise UserError(f"replay domain {', '.join(empty)} holds no samples")
        if DRIVING in self.pools:
            raise UserError(f"a replay domain may not be called {DRIVING!r}, which names the driving samples")

    def _replayed(self, step: int) -> int:
        """Replay samples in the ``step`` steps before this one."""
        return self.schedule.total(step) * self.batch_size // 1

    @cached_property
    def _ends(self) -> list[int]:
        """Where the samples of each domain end when those of all domains are counted through."""
        return list(accumulate(self.pools.values()))

    def _replay_place(self, number: int) -> tuple[str, int]:
        """Domain and index of the ``number``-th replay sample of the run."""
        domains = tuple(self.pools)
        if self.by_size:
            flat = self.selection.index(pool=_ALL_POOLS, size=self._ends[-1], number=number, seed=self.seed)
            position = bisect_right(self._ends, flat)
            return domains[position], flat - self._ends[position] + self.pools[domains[position]]
        turn, position = divmod(number, len(domains))
        domain = domains[position]
        return domain, self.selection.index(pool=domain, size=self.pools[domain], number=turn, seed=self.seed)

    def _dealt(self, replayed: int, position: int) -> int:
        """How many of the first ``replayed`` replay samples fall to the domain at ``position``."""
        if self.by_size:
            domain = tuple(self.pools)[position]
            passes, rest = divmod(replayed, self._ends[-1])
            last = range(replayed - rest, replayed)
            return passes * self.pools[domain] + sum(self._replay_place(number)[0] == domain for number in last)
        return -(-(replayed - position) // len(self.pools))

    def _driving_draws(self, step: int) -> tuple[Draw, ...]:
        first = step * self.batch_size - self._replayed(step)
        after = (step + 1) * self.batch_size - self._replayed(step + 1)
        shuffle = RandomSelection()
        return tuple(
            Draw(
                step=step,
                slot=slot,
                pool=DRIVING,
                index=shuffle.index(pool=DRIVING, size=self.num_driving, number=number, seed=self.seed),
                loss_weight=1.0,
            )
            for slot, number in enumerate(range(first, after))
        )

    def _replay_draws(self, step: int) -> tuple[Draw, ...]:
        first, after = self._replayed(step), self._replayed(step + 1)
        draws = []
        for slot, number in enumerate(range(first, after), self.batch_size - (after - first)):
            domain, index = self._replay_place(number)
            draws.append(Draw(step=step, slot=slot, pool=domain, index=index, loss_weight=self.loss_weight))
        return tuple(draws)
