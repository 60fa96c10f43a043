"""The batch plan: the content of every fine-tuning batch as a pure function of (seed, step)."""

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate

from driveforge.datasets.domains import DRIVING
from driveforge.datasets.errors import UserError
from driveforge.replay.selection import RandomSelection, Selection
from driveforge.replay.share import FixedShare, ShareSchedule

# Not the name of a replay domain: it identifies the stream of draws from all domains.
_ALL_POOLS = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchSlot:
    """One position in a batch: sample ``index`` of ``pool``, which is ``DRIVING`` or a replay domain.

    ``slot`` is the position in the global batch of all ranks, so (step, slot) identifies it for noise and logs.
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
    """Divides the ``batch_size`` slots of a global batch between driving and replay.

    ``share`` is the share of replay samples, a number or a schedule over the steps. Replay samples cycle through the
    domains in ``pools`` (sizes by domain) or, if ``is_proportional``, through all samples of all domains. Counts are
    floors of the cumulative share, so after any number of steps the number of replay samples, and without
    ``is_proportional`` that of each domain, is within one sample of its exact share. Driving samples come in a new
    permutation every epoch, replay samples as ``selection`` chooses. ``loss_weight`` multiplies the loss of replay
    samples and does not change the batches. A share of 0 is naive fine-tuning.
    """

    seed: int
    batch_size: int
    share: float | ShareSchedule
    pools: Mapping[str, int]
    num_driving: int
    loss_weight: float = 1.0
    is_proportional: bool = False
    selection: Selection = field(default_factory=RandomSelection)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pools", dict(sorted(self.pools.items())))
        if self.batch_size < 1:
            raise UserError(f"batch_size {self.batch_size} must be at least 1")
        if not 0.0 <= self.loss_weight < float("inf"):
            raise UserError(f"replay loss_weight {self.loss_weight} must be a finite number, 0 or more")
        if self.schedule.min_share < 1 and self.num_driving < 1:
            raise UserError("there are no driving samples to train on; only a replay share of 1 needs none")
        if self.has_replay:
            self._require_pools()

    @cached_property
    def schedule(self) -> ShareSchedule:
        return FixedShare(self.share) if isinstance(self.share, int | float) else self.share

    @property
    def has_replay(self) -> bool:
        """Whether any step contains replay samples."""
        return self.schedule.max_share > 0

    def batch(self, step: int) -> tuple[BatchSlot, ...]:
        """The slots of step ``step`` (from 0), driving first."""
        return self._driving_slots(step) + self._replay_slots(step)

    def rank_slice(self, step: int, rank: int, world_size: int) -> tuple[BatchSlot, ...]:
        """The slots of one rank: every ``world_size``-th, so that replay samples spread evenly over the ranks."""
        if self.batch_size % world_size:
            raise UserError(f"batch_size {self.batch_size} cannot be split evenly over {world_size} processes")
        if not 0 <= rank < world_size:
            raise UserError(f"rank {rank} must be from 0 to {world_size - 1}")
        return self.batch(step)[rank::world_size]

    def count_samples(self, step: int) -> dict[str, int]:
        """The number of samples from each pool in the first ``step`` steps."""
        replayed = self._count_replayed(step)
        counts = {DRIVING: step * self.batch_size - replayed}
        return counts | {
            domain: self._count_from_domain(replayed, position) for position, domain in enumerate(self.pools)
        }

    def _require_pools(self) -> None:
        if not self.pools:
            raise UserError(
                f"replay share {self.schedule.max_share} needs a replay buffer with samples; "
                "fill one, or set the share to 0"
            )
        empty = [domain for domain, size in self.pools.items() if size < 1]
        if empty:
            raise UserError(f"replay domain {', '.join(empty)} holds no samples")
        if DRIVING in self.pools:
            raise UserError(f"a replay domain may not be called {DRIVING!r}, which names the driving samples")

    def _count_replayed(self, step: int) -> int:
        """The number of replay samples in the first ``step`` steps, exact since the schedule is a fraction."""
        return self.schedule.cumulative_share(step) * self.batch_size // 1

    @cached_property
    def _ends(self) -> list[int]:
        """The end of each domain in the concatenation of all domains."""
        return list(accumulate(self.pools.values()))

    def _locate_replay_sample(self, number: int) -> tuple[str, int]:
        """The domain and index of the ``number``-th replay sample of the run."""
        domains = tuple(self.pools)
        if self.is_proportional:
            # An index into the concatenation of all domains, then into the domain that contains it.
            flat = self.selection.index(pool=_ALL_POOLS, size=self._ends[-1], number=number, seed=self.seed)
            position = bisect_right(self._ends, flat)
            start = self._ends[position] - self.pools[domains[position]]
            return domains[position], flat - start
        # Round robin over the domains, one sample of each per round.
        round_index, position = divmod(number, len(domains))
        domain = domains[position]
        return domain, self.selection.index(pool=domain, size=self.pools[domain], number=round_index, seed=self.seed)

    def _count_from_domain(self, replayed: int, position: int) -> int:
        """How many of the first ``replayed`` replay samples are of the domain at ``position``."""
        if self.is_proportional:
            # A whole epoch takes every sample of the domain once; only the last, incomplete epoch is counted.
            domain = tuple(self.pools)[position]
            num_epochs, rest = divmod(replayed, self._ends[-1])
            last = range(replayed - rest, replayed)
            return num_epochs * self.pools[domain] + sum(
                self._locate_replay_sample(number)[0] == domain for number in last
            )
        return math.ceil((replayed - position) / len(self.pools))

    def _driving_slots(self, step: int) -> tuple[BatchSlot, ...]:
        first = step * self.batch_size - self._count_replayed(step)
        after = (step + 1) * self.batch_size - self._count_replayed(step + 1)
        shuffle = RandomSelection()
        return tuple(
            BatchSlot(
                step=step,
                slot=slot,
                pool=DRIVING,
                index=shuffle.index(pool=DRIVING, size=self.num_driving, number=number, seed=self.seed),
                loss_weight=1.0,
            )
            for slot, number in enumerate(range(first, after))
        )

    def _replay_slots(self, step: int) -> tuple[BatchSlot, ...]:
        first, after = self._count_replayed(step), self._count_replayed(step + 1)
        slots = []
        for slot, number in enumerate(range(first, after), self.batch_size - (after - first)):
            domain, index = self._locate_replay_sample(number)
            slots.append(BatchSlot(step=step, slot=slot, pool=domain, index=index, loss_weight=self.loss_weight))
        return tuple(slots)
